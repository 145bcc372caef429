"""breathnet as a gasdet plugin. ``plugin`` registers it; ``model`` is the self-contained file that a bundle contains."""
