"""Why a transaction was rolled back, in words for the queue, the history and support."""

from manifests.documents.rollback_causes import cause_text


def test_the_usual_causes_are_sentences_and_others_keep_their_code() -> None:
    assert cause_text("observed-other") == "a component was not as released"
    assert cause_text("unconfirmed") == "nobody confirmed the trial in time"
    assert cause_text("program-stuck") == "program stuck"
