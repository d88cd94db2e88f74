import pytest

from weft import Net


@pytest.fixture
def net(tmp_path):
    n = Net(tmp_path)
    n.start_server()
    yield n
    wrong = n.close()
    assert not wrong, "\n".join(wrong)
