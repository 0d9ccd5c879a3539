"""An error of our own in what Tune calls ends the search as what it is.

Tune wraps it in one of its own, or takes it for one of the trial's and begins a trial again that has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


def guarded(method: Method) -> Method:
    """The method of something with a `stop` (`search.engine.stop.Stop`), but the first error of any goes into
    `stop.error`, which ends the search; from then on it does nothing, and answers None.

    So what is written down is what was known before the error, and a resumed search goes on from there.
    """

    @wraps(method)
    def guard(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.stop.error is not None:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.stop.error = error
            return None

    return cast(Method, guard)
