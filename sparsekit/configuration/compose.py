"""From what a user types to complete configurations: the only place that lets Hydra compose.

Every combination of a sweep is composed and checked before anything runs.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration.claims import claims_in, grids_in, offer_of, refuse_untestable
from sparsekit.configuration.config import ConfigError, Spine, check
from sparsekit.configuration.groups import (
    Groups,
    check_option,
    refuse_mark,
    sorted_out,
    undecodable,
)
from sparsekit.configuration.identity import variant_of
from sparsekit.configuration.labels import RUN, labels_of, take_method_label_
from sparsekit.configuration.overrides import (
    first_lines,
    key_of,
    quoted,
    reason_of,
    refuse_hydra,
    value_of,
    values_of,
    whole_leaves,
)
from sparsekit.configuration.signatures import PACKAGE
from sparsekit.configuration.sweep_files import (
    NO_FILE,
    Combination,
    Point,
    SweepFile,
    agrees,
    combinations,
    point_of,
    points,
    refuse_idle,
)
from sparsekit.configuration.unused import (
    refuse_unused_resources,
    refuse_unused_retraining,
    refuse_unused_sparsity,
)
from sparsekit.store.published import published_override

CONFIGS = next(path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir())
Memory = dict[tuple[str, ...], tuple[Any, dict[str, str]]]


@dataclasses.dataclass(frozen=True)
class Run:
    """One complete, checked configuration and the choices that led to it.

    Runs whose `variant` is equal differ in nothing but seed, sparsity and where they run, see
    `identity.variant_of`. `labels` are display names and `claims` what the experiment states, None
    if nothing: no result depends on either (`configuration/labels.py`, `claims.py`). `sweep` is the
    name of a sweep file, "" if the run is of none.
    """

    config: Mapping[str, Any]
    variant: str
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    claims: Sequence[Mapping[str, Any]] | None = None
    sweep: str = ""

    @property
    def experiment(self) -> str:
        """What its record lies under: a sweep file has claims of its own, and so its own name."""
        return self.sweep or self.choices.get("experiment", "custom")

    @property
    def shown(self) -> str:
        """The run as a message names it: what was asked for."""
        return " ".join(self.overrides) or "the defaults"


@dataclasses.dataclass(frozen=True)
class _Ask:
    """What every step of composing a sweep needs."""

    sweep: SweepFile
    folders: tuple[Path, ...]
    memory: Memory = dataclasses.field(default_factory=dict)


def compose_runs(
    overrides: Sequence[str],
    folders: Sequence[Path] = (),
    *,
    sweep: SweepFile = NO_FILE,
    zipped: Sequence[Sequence[str]] = (),
    excluded: Sequence[Point] = (),
) -> list[Run]:
    """Compose every run that the typed `overrides` and a sweep file ask for.

    These are the combinations of `a,b` lists, with `zipped` keys in step, and of the points of the
    file's grids or else of the experiment's, without those that are `excluded`. ConfigError for the
    first mistake, with the run it is in if there are several.
    """
    ask = _Ask(sweep, tuple(folders))
    everything = {one: point_of(one) for one in _combined(overrides, zipped, ask)}
    refuse_idle(excluded, list(everything.values()))
    # What is typed may have selected already what the file excludes.
    whole_file = _combined((), (), ask) if sweep.excluded and overrides else ()
    refuse_idle(sweep.excluded, [*everything.values(), *map(point_of, whole_file)])
    left_out = (*sweep.excluded, *excluded)
    chosen = [
        one for one, point in everything.items() if not any(agrees(point, e) for e in left_out)
    ]
    if not chosen:
        raise ConfigError("sweep: its grids contain no run, or every one of them is excluded")
    runs: dict[str, Run] = {}
    for one in chosen:
        run = _named((*one, "sweep=[]"), ask, shown=one if len(chosen) > 1 else ())
        refuse_unused_resources(overrides, run.config)
        claims = run.claims if sweep.claims is None else sweep.claims
        asked = tuple(map(published_override, one))
        run = dataclasses.replace(run, overrides=asked, claims=claims, sweep=sweep.name)
        same = repr((run.config, run.choices))
        runs[same] = run if same not in runs or RUN not in runs[same].labels else runs[same]
    if any(run.claims for run in runs.values()):
        grids = sweep.grids or grids_in(node for node, _ in ask.memory.values())
        methods, is_open = list_groups(folders)["method"], not (grids or sweep.overrides)
        offer = offer_of(grids, everything.values(), methods, is_open=is_open)
        refuse_untestable(list(runs.values()), offer)
    return list(runs.values())


def compose_one(
    overrides: Sequence[str], folders: Sequence[Path] = (), memory: Memory | None = None
) -> Run:
    """Compose the configuration of `overrides` and check it; ConfigError says what is wrong.

    Hydra composes what is chosen from groups, which takes a tenth of a second; values are set
    afterwards. Calls that share a `memory` let it compose every choice once.
    """
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    leaves = whole_leaves(overrides)
    options, values = sorted_out(overrides, list_groups(folders))
    memory = {} if memory is None else memory
    try:
        if options not in memory:
            memory[options] = _composed(options, folders)
        chosen, choices = memory[options]
        composed = copy.deepcopy(chosen)
        for key, leaf in leaves.items():
            OmegaConf.update(composed, key, leaf, merge=False, force_add=True)
        for text in values:
            _set(composed, text)
        method_label = take_method_label_(composed)
        written = OmegaConf.to_container(composed, resolve=False)
        # Grids are resolved in the runs they stand for: ${sparsity} is that of the run.
        composed.sweep = []
        plain = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(reason_of(error)) from error
    except RecursionError as error:
        raise ConfigError("a configuration is nested too deeply, or refers to itself") from error
    except OSError as error:
        if error.errno is not None:  # else OmegaConf's word for a file that holds one value
            raise
        raise ConfigError(f"a configuration file is no mapping: {first_lines(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{undecodable(list_groups(folders))} is not UTF-8: {error}") from error
    assert isinstance(plain, dict)
    assert isinstance(written, dict)
    config = {str(name): value for name, value in plain.items()} | {"sweep": written["sweep"]}
    check(config)
    claims = claims_in(config.pop("claims"))
    labels = labels_of(config.pop("label"), method_label, choices, list_groups(folders))
    if not config["sweep"]:  # grids may choose another method
        refuse_unused_sparsity(overrides, written, choices)
        refuse_unused_retraining(overrides, config)
    asked = tuple(map(published_override, overrides))
    return Run(config, variant_of(written, labels), choices, asked, labels, claims)


def _composed(options: Sequence[str], folders: Sequence[Path]) -> tuple[Any, dict[str, str]]:
    """Compose options of groups by Hydra; return the open configuration and each group's option.

    What is set later is checked against the types of the spine, and by `check`.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    for group in list_groups(folders).values():
        refuse_mark(file for file in group.values() if not file.is_relative_to(CONFIGS))
    paths = ",".join(quoted(f"file://{folder.resolve()}") for folder in folders)
    ConfigStore.instance().store(name="spine", node=Spine)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose(
            "config", [*options, f"hydra.searchpath=[{paths}]"], return_hydra_config=True
        )
    choices = {str(k): v for k, v in composed.hydra.runtime.choices.items()}
    OmegaConf.set_struct(composed, False)
    del composed["hydra"]
    return composed, {k: v for k, v in choices.items() if not k.startswith("hydra")}


def _set(composed: Any, text: str) -> None:
    """Set one value, `++key=value`."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        OmegaConf.update(composed, key_of(text), value_of(text), merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{text.removeprefix('++')}: {first_lines(error)}") from error


def list_groups(folders: Sequence[Path] = ()) -> dict[str, dict[str, Path]]:
    """List the options of every group: group -> option -> file."""
    groups: dict[str, dict[str, Path]] = {}
    for folder in (CONFIGS, *folders):
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {folder}: no such folder")
        for file in sorted(folder.glob("*/*.yaml")):
            if file.is_file():
                groups.setdefault(file.parent.name, {})[file.stem] = file
    return groups


def summary(file: Path) -> str:
    """Return the one-line comment that a configuration file begins with, apart from directives."""
    text = file.read_text(encoding="utf-8", errors="replace")
    comments = (line[1:].strip() for line in text.splitlines() if line[:1] == "#")
    return next((text for text in comments if text and not text.startswith("@package")), "")


def _combined(
    typed: Sequence[str], zipped: Sequence[Sequence[str]], ask: _Ask
) -> Iterator[Combination]:
    """Yield every combination of the file's overrides with those typed and with points of grids."""
    groups = list_groups(ask.folders)
    axes = []
    for text in (*ask.sweep.overrides, *typed):
        refuse_hydra(text)
        axes.append(values_of(text))
        for value in axes[-1]:
            check_option(value, groups)
    products = list(combinations(axes, (*ask.sweep.zipped, *zipped)))
    for one in products:
        grids = ask.sweep.grids or _grids(one, groups, ask, shown=one if len(products) > 1 else ())
        if not grids:
            yield one
        for chosen in points(grids, one):
            yield (*one, *chosen)


def _grids(
    one: Combination, groups: Groups, ask: _Ask, *, shown: Combination
) -> Sequence[Mapping[str, Any]]:
    """Return the grids of the chosen experiment, or those that are typed as `sweep=`."""
    options, _ = sorted_out(one, groups)
    if options in ask.memory and "sweep" not in map(key_of, one):
        composed, _ = ask.memory[options]
        if not composed.sweep:
            return []
    return _named(one, ask, shown=shown).config["sweep"]


def _named(overrides: Combination, ask: _Ask, *, shown: Combination) -> Run:
    """Compose one run of a sweep; a mistake in it is preceded by what is `shown` of it."""
    try:
        return compose_one(overrides, ask.folders, ask.memory)
    except ConfigError as error:
        said = " ".join(map(published_override, shown))
        raise ConfigError(f"{said}: {error}" if said else str(error)) from error
