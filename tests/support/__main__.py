"""Write docs/support.md: `python -m tests.support`."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.support.checks import CHECKS
from tests.support.page import PAGE, outcome, support_page
from tests.tiny import FAMILIES, PARTLY

outcomes = {}
with torch.no_grad():
    for family in [*FAMILIES, *PARTLY]:
        for study in CHECKS:
            with TemporaryDirectory() as folder:
                outcomes[family, study] = outcome(study, family, Path(folder))
PAGE.write_text(support_page(outcomes))
