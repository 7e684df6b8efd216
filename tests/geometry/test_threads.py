import numpy as np
import threadpoolctl

from gti_cli.geometry.threads import one_thread


def blas_threads():
    np.linalg.eigvalsh(np.eye(4))  # loads the library
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def test_one_thread_inside_and_the_former_number_after():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with one_thread():
            assert set(blas_threads()) == {1}
        assert blas_threads() == before
        assert 2 in before
