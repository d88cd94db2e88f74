import pytest

from weft import SEED, Net


def pytest_report_header():
    return f"WEFT_SEED={SEED}"


def closing(net):
    wrong = net.close()
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def net(tmp_path):
    """A server alone; agents are made as needed."""
    n = Net(tmp_path)
    n.start_server()
    yield n
    closing(n)


@pytest.fixture
def slow(tmp_path):
    """The same with a line in between that can be slowed down and cut: net.relay."""
    n = Net(tmp_path)
    n.start_server(relay=True)
    yield n
    closing(n)
