"""A holdout's record as it is kept, whatever was written into it before."""

from __future__ import annotations

import pytest

from gasdet.evaluation.concealing import MESSAGES, OF_THE_FILE, concealed
from gasdet.evaluation.records import blank, schema, table_of
from gasdet.types import Provenance, Reason, Status

SAID = "cannot open /secret/anna.png of 4711 bytes"


def filled(sample, **changes):
    record = blank("run", "tiny", sample)
    told = {"width": 640, "height": 480, "frames": 16, "duration_s": 2.5, "decode_ms": 3.5, "decoder": "Pillow 13"}
    return {**record, **told, "message": SAID, "status": Status.OK.value, "member": "anna.png", **changes}


def test_every_reason_has_a_sentence_of_its_own():
    assert set(MESSAGES) == set(Reason)
    assert len(set(MESSAGES.values())) == len(MESSAGES)


@pytest.mark.parametrize("reason", Reason)
def test_no_word_of_a_decoder_or_model_is_kept(make_sample, reason):
    sample = make_sample("anna", 0, provenance=Provenance.HOLDOUT, member="")
    status = Status.SKIPPED if reason in (Reason.LABEL_UNREADABLE, Reason.UNKNOWN_MODALITY) else Status.ERROR
    kept = table_of([filled(sample, status=status.value, reason=reason.value)]).to_pylist()[0]
    assert kept["message"] == MESSAGES[reason]
    assert (kept["status"], kept["reason"]) == (status.value, reason.value)
    assert "anna" not in str(kept)
    assert [kept[column] for column in OF_THE_FILE] == [None] * 5


def test_a_scored_holdout_keeps_its_scores_and_no_message(make_sample):
    sample = make_sample("anna", 0, provenance=Provenance.HOLDOUT)
    scores = {"p_synthetic": 0.9, "p_raw": 0.8, "logit_real": -1.0, "logit_synthetic": 1.0, "inference_ms": 7.0}
    kept = table_of([filled(sample, **scores, batch_size=4, prediction=1)]).to_pylist()[0]
    assert {name: kept[name] for name in scores} == pytest.approx(scores)
    assert (kept["message"], kept["decoder"], kept["member"], kept["batch_size"]) == ("", "", "", 4)


def test_a_public_record_is_kept_as_it_is(make_sample):
    record = filled(make_sample("anna", 0))
    assert concealed(record) is record
    assert table_of([record]).to_pylist()[0] == {**record, "label": 0 if record["media_type"] == "real" else 1}
    assert set(record) == set(schema().names)
