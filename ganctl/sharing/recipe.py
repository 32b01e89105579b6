"""What of a configuration the weights depend on: for cards, and for files that go to others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Where files lie, who is told, what is looked at on the way.
WITHOUT_EFFECT = ("run", "logger", "callbacks", "ckpt_path", "data.root")


def effective(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what names the places and accounts of the user. Whatever its shape is."""
    kept: dict[str, Any] = {}
    for section, value in resolved.items():
        if section in WITHOUT_EFFECT:
            continue
        if isinstance(value, Mapping):
            value = {key: v for key, v in value.items() if f"{section}.{key}" not in WITHOUT_EFFECT}
        kept[section] = value
    return kept


def in_words(trained: Mapping[str, Any]) -> str:
    """Loss, penalties, augmentation, optimizer, schedules, batch and precision, in a line.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: it is no configuration of ganctl.
    """
    data, model, loss, trainer = (trained[name] for name in ("data", "model", "loss", "trainer"))
    schedules = [
        f"{name} {s['shape']} to {s['final']:g} from {s['begin']:.0%} to {s['end']:.0%} of the training"
        for name, s in trained["schedules"].items()
        if s is not None
    ]
    # Settings that earlier configurations do not have are off.
    interval = loss.get("reg_interval", 1)
    lecam, flip = loss.get("lecam_weight", 0.0), data.get("flip", False)
    head = model["discriminator"].get("head", "projection")
    augmentation = trained.get("augment", {}).get("name", "none")
    terms = [
        (True, f"{loss['name']} loss"),
        (True, f"R1 γ {loss['r1_gamma']:g}"),
        (True, f"R2 γ {loss['r2_gamma']:g}"),
        (interval > 1, f"both at one batch of {interval}, × {interval}"),
        (loss["gp_weight"], f"gradient penalty × {loss['gp_weight']:g}"),
        (lecam, f"LeCam × {lecam:g}"),
        (head != "projection", f"class loss × {loss.get('class_weight', 1.0):g} (head {head})"),
        (flip, "half of the real images mirrored"),
        (augmentation != "none", f"augmentation {augmentation}"),
    ]
    precision = "float32" if trainer["precision"] == 32 else trainer["precision"]
    return (
        f"{', '.join(words for on, words in terms if on)}; "
        f"Adam {model['lr']:g} ({model['beta1']:g}, {model['beta2']:g}); "
        f"{'; '.join([*schedules, ''])}batch {data['batch_size']}; weights averaged with half-life "
        f"{model['ema_half_life_kimg']:g} kimg; precision {precision}; seed {trained['seed']}"
    )
