"""Faults of the cluster: evictions, nodes, its controller and its accounting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.faults.drawing import Draw
from tests.faults.on_jobs import Hit, picked
from tests.faults.victims import Victim
from tests.faults.world import Asked, World
from tests.slurm.cluster import SLURMD_TIMEOUT

HIGHER = ("--cpus-per-task=4", "--mem=1G", "--wrap=sleep 3", "--output=/dev/null")


def evicted(world: World, draw: Draw, *, partition: str) -> Hit:
    """Let a job of a higher partition need the node on which a job of this one runs."""
    at_work = world.at_work()
    mine = [
        found
        for found in at_work
        if found[0].command.partition == partition and found[1].node not in world.nodes_down
    ]
    found = picked(mine, draw)
    if found is None or not world.answers:
        return None
    world.cluster.run("sbatch", f"--nodelist={found[1].node}", *HIGHER)
    return _on(found[1].node, at_work)


def power_cut(world: World, draw: Draw) -> Hit:
    """Let everything on a node die at once; the node comes back within 20 seconds."""
    return _lost(world, draw, world.cluster.kill_node, after=2 + 18 * draw.moment)


def network_cut(world: World, draw: Draw) -> Hit:
    """Let a node fall silent whose jobs go on, until SLURM has given it up."""
    return _lost(world, draw, world.cluster.cut_node, after=float(SLURMD_TIMEOUT[False]) + 10)


def slurmctld_away(world: World, draw: Draw) -> Hit:
    """Stop slurmctld for some seconds."""
    hit = [asked.number for asked, _ in world.at_work()]
    if not hit or not world.answers:
        return None
    world.cluster.stop_controller()
    world.answers = False

    def back() -> None:
        world.cluster.start_controller()
        world.answers = True

    world.heal(back, after=3 + 22 * draw.moment, needs_slurm=False)
    return hit


def accounting_away(world: World, draw: Draw) -> Hit:
    """Stop slurmdbd for some seconds."""
    hit = [asked.number for asked, _ in world.at_work()]
    if not hit:
        return None
    world.cluster.stop_accounting()
    world.heal(world.cluster.start_accounting, after=5 + 25 * draw.moment, needs_slurm=False)
    return hit


def _lost(world: World, draw: Draw, lose: Callable[[str], None], *, after: float) -> Hit:
    at_work = world.at_work()
    found = picked([one for one in at_work if one[1].node not in world.nodes_down], draw)
    if found is None or not world.answers:
        return None
    node = found[1].node
    world.nodes_down.add(node)
    lose(node)

    def back() -> None:
        world.cluster.start_node(node)
        world.nodes_down.discard(node)

    world.heal(back, after=after)
    return _on(node, at_work)


def _on(node: str, at_work: Sequence[tuple[Asked, Victim]]) -> list[int]:
    return [asked.number for asked, victim in at_work if victim.node == node]
