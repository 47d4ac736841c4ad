from __future__ import annotations

from typer.testing import CliRunner

from inference_service.cli.up.plan import Candidate, Inspection
from inference_service.cli.up.run import choose_output


def test_a_person_is_asked_until_the_answer_is_one_of_the_candidates() -> None:
    heads = [Candidate("a/Softmax:0", "Softmax"), Candidate("b/Softmax:0", "Softmax")]
    with CliRunner().isolation(input="3\nb\n\n2\n") as (output, *_):
        assert choose_output(Inspection("p", "ab", None, outputs=heads), "which?") == heads[1]
        assert output.getvalue().decode().count("give a number from 1 to 2") == 2
