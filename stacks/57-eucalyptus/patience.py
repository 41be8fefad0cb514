"""Waiting for what comes by itself."""

import time


class Patient:
    """Of those that have `check`."""

    def until(self, what, reached, seconds=60):
        end = time.monotonic() + seconds
        while not (found := reached()):
            if time.monotonic() > end:
                self.check(what, False, "not in time")
                return None
            time.sleep(0.2)
        return found
