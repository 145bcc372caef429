"""What a file is, apart from what it shows or sounds like: container, codec, size, quality, metadata, level, silence ...

A detector that learns such a property where it should learn content has found a shortcut; an audit of data looks for them.
"""

from __future__ import annotations

from gasdet.media.properties.reading import properties_of
from gasdet.media.properties.spec import Kind, Properties, PropertySpec, Remedy, Value
from gasdet.media.properties.table import PROPERTIES

__all__ = ["PROPERTIES", "Kind", "Properties", "PropertySpec", "Remedy", "Value", "properties_of"]
