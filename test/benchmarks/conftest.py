"""One thread: small networks are faster so, and results do not depend on the machine's load."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
