from __future__ import annotations

from pathlib import Path

import pytest

from gti_cli.errors import InputError
from gti_cli.serving.loading import make_loader


def test_a_client_cannot_have_any_folder_loaded(tmp_path: Path) -> None:
    for name in ("../other", "/etc", str(tmp_path), "none"):
        with pytest.raises(InputError, match="no checkpoint"):
            make_loader(tmp_path, None)(name)
