"""Every kind of fault, by the words under which it is counted."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from tests.faults import on_cluster, on_commands, on_files, on_jobs
from tests.faults.campaign import Inject
from tests.faults.drawing import PARTITIONS
from tests.faults.world import World

KINDS: Mapping[str, Inject[World]] = {
    "kill -9 of a process at work": on_jobs.killed,
    "SIGTERM alone": on_jobs.terminated,
    "SIGUSR2, the warning": on_jobs.warned,
    "`scancel`, later `status retry`": on_jobs.cancelled,
    "`scontrol requeue`": on_jobs.requeued,
    "time limit": on_jobs.out_of_time,
    "a process stands still for a while": on_jobs.suspended,
    "nothing can be written for a while": on_jobs.disk_full,
    **{
        f"evicted from {partition}": functools.partial(on_cluster.evicted, partition=partition)
        for partition in PARTITIONS
    },
    "power cut of a node": on_cluster.power_cut,
    "a node's daemon is lost, its jobs go on": on_cluster.network_cut,
    "slurmctld stopped and started": on_cluster.slurmctld_away,
    "slurmdbd stopped and started": on_cluster.accounting_away,
    "kill -9 of the submitting process": on_commands.submitter_killed,
    "a sweep submitted twice at once": on_commands.submitted_twice,
    "the command typed again, under way": on_commands.typed_again,
    "`status retry`, under way": on_commands.retried_at_work,
    "`status cancel`, later `status retry`": on_commands.cancelled_by_command,
    "`scancel` of controller or watchdog": on_commands.small_job_cancelled,
    "`status gc --delete --days 0`, under way": on_commands.garbage_deleted,
    "kill -9, status file cut": on_files.status_cut,
    "kill -9, progress file cut": on_files.progress_cut,
    "kill -9, checkpoint cut": on_files.checkpoint_cut,
    "kill -9, record cut": on_files.record_cut,
    "kill -9, stage removed": on_files.stage_removed,
    "kill -9, stage changed": on_files.stage_changed,
}
