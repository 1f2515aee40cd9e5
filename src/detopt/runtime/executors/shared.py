"""Evaluations that other runs of a store have done are taken from there.

The name of an evaluation is the digest of all that its numbers depend on: the code, the problem,
the design, the random stream and the number of events. So an answer that is found has the bits that
this run would have computed, and a study is the same with and without others.
"""

__all__ = ["SharingExecutor", "n_shared"]

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from detopt.errors import CheckpointError
from detopt.pipeline import Evaluation, Request, Summary
from detopt.random import Seed
from detopt.runtime.digests import design_digest
from detopt.runtime.executors.base import Executor, Pending
from detopt.runtime.executors.work import DesignChunk, Work, read_summary, summary_value
from detopt.runtime.storage import Answers, FilesAwayError, Place, Store, Tokens, decode, encode

UNREADABLE = (CheckpointError, KeyError, TypeError, ValueError, IndexError, StopIteration)
KIND = "shared"  # of an event
FIELDS = ("value", "std_error", "gradient", "gradient_std_error", "terms", "n_events")


class SharingExecutor(Executor):
    """Asks another executor for what no run of the store has done yet.

    Failed evaluations are not shared: the next machine may succeed. Nor is anything of a run that
    has tokens for workers which are not fully trusted.

    Args:
        inner: Who does the work.
        store: Where answers are.
        run_id: The run that asks.
        problem: SHA-256 of problem and code, which all keys contain.
    """

    def __init__(self, inner: Executor, store: Store, run_id: str, problem: str) -> None:
        super().__init__(inner.problem)
        self.inner = inner
        self.capabilities = inner.capabilities
        self.store, self.run_id = store, run_id
        self.answers = Answers(store.database)
        self.n_used = self._n_told = 0
        space = inner.problem.space
        self._problem = (problem,)
        self._space = (design_digest(space.frozen), *(p.name for p in space.free))

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Give pieces of work to the other executor; they are not shared."""
        return self.inner.submit(work)

    def evaluate(self, requests: Sequence[Request], seed: Seed) -> list[Evaluation]:
        """Answers of other runs, and the others in one go."""
        keys = [self._evaluation_key(request, seed) for request in requests]
        known: dict[int, Evaluation] = {}
        for i, value in self._find(keys).items():
            try:
                known[i] = _evaluation(requests[i], value)
            except UNREADABLE:
                self.answers.forget(keys[i])
        missing = [i for i in range(len(requests)) if i not in known]
        fresh = self.inner.evaluate([requests[i] for i in missing], seed) if missing else []
        found = known | dict(zip(missing, fresh, strict=True))
        self._keep({keys[i]: _value(found[i]) for i in missing if not found[i].failure})
        self.n_used += len(known)
        return [found[i] for i in range(len(requests))]

    def summarize(self, work: Sequence[DesignChunk]) -> list[Summary]:
        """Summaries of other runs, and the others in one go."""
        keys = [self._chunk_key(chunk) for chunk in work]
        known: dict[int, Summary] = {}
        for i, value in self._find(keys).items():
            try:
                summary = read_summary(value)
            except UNREADABLE:
                summary = None
            if summary is None:
                self.answers.forget(keys[i])
            else:
                known[i] = summary
        missing = [i for i in range(len(work)) if i not in known]
        fresh = self.inner.summarize([work[i] for i in missing]) if missing else []
        found = known | dict(zip(missing, fresh, strict=True))
        self._keep({keys[i]: summary_value(found[i]) for i in missing})
        self.n_used += len(known)
        return [found[i] for i in range(len(work))]

    def _evaluation_key(self, request: Request, seed: Seed) -> str:
        theta = [float(x).hex() for x in request.theta]
        n_events = self.problem.n_events if request.n_events is None else request.n_events
        full = replace(request, n_events=n_events)
        asked = {name: value for name, value in vars(full).items() if name != "theta"}
        return self._key("evaluation", self._space, seed.key, theta, sorted(asked.items()))

    def _chunk_key(self, chunk: DesignChunk) -> str:
        return self._key("chunk", design_digest(chunk.design), chunk.seed.key, chunk.n_events)

    def _key(self, *parts: Any) -> str:
        return hashlib.sha256(repr((*self._problem, *parts)).encode()).hexdigest()

    def _find(self, keys: Sequence[str]) -> dict[int, Any]:
        """What is known, by position."""
        places = self.answers.find(sorted(set(keys)))
        blobs: dict[str, Any] = {}
        found = {}
        for i, key in enumerate(keys):
            if key not in places:
                continue
            place = places[key]
            try:
                if place.blob not in blobs:
                    blobs[place.blob] = decode(self.store.blobs.get(place.blob))
                known, value = blobs[place.blob][place.position]
            except FilesAwayError:  # the answer may be sound: it is only not used
                continue
            except UNREADABLE as error:  # it is made anew
                self.store.log("damaged", {"answer": key, "error": str(error)}, self.run_id)
                self.answers.forget(key)
                continue
            if known == key:
                found[i] = value
        return found

    def _keep(self, values: dict[str, Any]) -> None:
        tokens = Tokens(self.store.database).of(self.run_id)
        if not values or any(token.trust != "full" for token in tokens):
            return
        blob = self.store.blobs.put(encode(list(values.items())))
        self.answers.keep(self.run_id, {key: Place(blob, i) for i, key in enumerate(values)})

    def signal_worker(self, number: int) -> bool:
        """As the other executor does."""
        return self.inner.signal_worker(number)

    def clock_skews(self) -> list[float]:
        """As the other executor tells."""
        return self.inner.clock_skews()

    def close(self) -> None:
        """Free the workers, and say how much was taken from other runs."""
        self.inner.close()
        if self.n_used > self._n_told:  # a study that is stopped closes twice
            self.store.log(KIND, {"used": self.n_used - self._n_told}, self.run_id)
            self._n_told = self.n_used


def n_shared(store: Store, run_id: str) -> int:
    """Evaluations and pieces of re-evaluations that a run took from others."""
    return sum(event.data["used"] for event in store.events(run_id) if event.kind == KIND)


def _value(found: Evaluation) -> dict[str, Any]:
    return {name: getattr(found, name) for name in FIELDS} | summary_value(found.rows)


def _evaluation(request: Request, value: Any) -> Evaluation:
    """The answer to a request, without CPU time: nothing was computed for it here."""
    numbers = {name: value[name] for name in FIELDS}
    return Evaluation(request=request, **numbers, rows=read_summary(value))
