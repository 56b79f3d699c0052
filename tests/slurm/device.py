"""What a job of a SLURM cluster without real cards would take: the device, and the card's number.

All jobs are told of cards with the same UUIDs, as where two share one: a lock would part them.
"""

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from llm_anatomy.config.base import Compute
from llm_anatomy.model.run.devices import choose_device

shown = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: len(shown)
torch.cuda.get_device_properties = lambda index: SimpleNamespace(uuid=f"card-{index}")
found = choose_device(Compute(device="cuda"))
Path(sys.argv[1]).write_text(f"{found} {','.join(shown)}\n")
# The other job comes while this one still holds what it has taken.
time.sleep(5)
