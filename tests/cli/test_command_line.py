"""What a command does not know is refused by the command itself, with the nearest flag."""

import pytest

from invariances.cli import invariances as command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study", "Net", "--data", "a", "--budgt", "15m"], "--budgt: no such flag; did you mean --budget?"),
        (["study", "Net", "--dta", "a"], "--dta: no such flag; did you mean --data?"),
        (["study", "Net", "--data", "a", "--layer=mid"], "--layer: no such flag; did you mean --layers?"),
        (["study", "Net", "--data", "a", "b"], "b: unexpected argument"),
        (["layers", "Net", "--xyzzy"], "--xyzzy: no such flag"),
        (["zoo", "get", "a", "--force"], "--force: no such flag"),
    ],
)
def test_what_is_unknown(capsys, words, message):
    assert command.main(words) == 2
    name = " ".join(words[: 2 if words[0] == "zoo" else 1])
    assert capsys.readouterr().err == f"invariances: error: {message}; see invariances {name} --help\n"


def test_the_sizes_of_a_study_are_in_its_help(capsys):
    with pytest.raises(SystemExit):
        command.main(["study", "--help"])
    assert "16, 28, 32, 64, 128, 256" in " ".join(capsys.readouterr().out.split())
