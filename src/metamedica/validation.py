"""The score that training selects by: the query log-likelihood of meta-valid tasks."""

from collections.abc import Sequence
from typing import Any

import torch

from metamedica.ranks import ALONE, Ranks
from metamedica.types import EpisodeBatch, LabelledBatch, Learner


def mean_log_likelihood(learner: Learner[Any], episodes: Sequence[EpisodeBatch], ranks: Ranks = ALONE) -> float:
    """Return the mean query log-likelihood per case, mean over the tasks of all batches, in evaluation mode.

    Several processes share the tasks, and all get the same bits.

    Args:
        learner: left in evaluation mode.
        episodes: standardised; the same in every process.
        ranks: the processes.

    Raises:
        RunEnded: another process is gone.
    """
    learner.eval()
    counts = [len(batch.task_index) for batch in episodes]
    own = ranks.share(sum(counts))
    scores = torch.zeros(sum(counts), dtype=torch.float64, device=episodes[0].query.mask.device)
    begin = 0
    with torch.no_grad():
        for batch, count in zip(episodes, counts, strict=True):
            rows = slice(max(own.start - begin, 0), min(own.stop - begin, count))
            if rows.start < rows.stop:
                support, query = _rows(batch.support, rows), _rows(batch.query, rows)
                law = learner.predict(learner.adapt(support), query.cases)
                scores[begin + rows.start : begin + rows.stop] = query.log_likelihood(law).double()
            begin += count
    return float(ranks.sum_(scores).mean())  # each task has a score in one process and 0 in the others


def _rows(batch: LabelledBatch, rows: slice) -> LabelledBatch:
    return batch if rows == slice(0, len(batch.mask)) else batch.map(lambda value: value[rows])
