import pytest

from invariances.errors import InvalidInput
from invariances.evaluation.metrics.attributes.table import read_table

FILES = ["/data/cats/1.png", "/data/cats/2.png", "/data/dogs/1.png"]


def table(tmp_path, text):
    path = tmp_path / "attributes.csv"
    path.write_text(text)
    return path


def test_rows_are_found_by_index(tmp_path):
    path = table(tmp_path, "index,age,fur\n0,1.5,long\n2,3,short\n")
    found = read_table(path, None, [2, 0, 1])
    assert found["age"][:2].tolist() == [3, 1.5]
    assert found["age"][2].isnan()
    assert found["fur"].tolist() == [2, 1, 0]


def test_rows_are_found_by_the_end_of_a_path(tmp_path):
    path = table(tmp_path, "file,age\ncats/1.png,1\ndogs/1.png,3\n2.png,2\n")
    assert read_table(path, FILES, [0, 1, 2])["age"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "files", "words"),
    [
        ("name,age\na,1\n", FILES, "has columns name, age; expected one of them to be index or file"),
        ("file,age\na,1\n", None, "use a column index"),
        ("file,age\na,1\n", FILES, "has no row about any of the images, such as /data/cats/1.png"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, text, files, words):
    with pytest.raises(InvalidInput, match=words):
        read_table(table(tmp_path, text), files, [0])


def test_no_table(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_table(tmp_path / "none.csv", None, [0])
