"""Whether wandb knows a key; the key itself is none of our business."""

from __future__ import annotations

import contextlib
import io


def has_key() -> bool:
    """Say whether a key is configured: in the environment, or by `wandb login`. Asks nobody."""
    import wandb

    with contextlib.redirect_stderr(io.StringIO()):  # it says that another way is to come
        return bool(wandb.api.api_key)
