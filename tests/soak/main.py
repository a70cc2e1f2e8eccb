"""The program behind ./soak: plays every scenario until its time is over, and prints what was measured.

Ends with 1 if a limit did not hold, a statement was not recorded, or others were disturbed. Read scenarios.py next.
"""

import argparse
import json
import resource
import signal
import sys
import time
import traceback

import scenarios
from house import House


def main():
    arguments = argparse.ArgumentParser(prog="./soak", description="What should not happen, made to happen.")
    arguments.add_argument("--minutes", type=float, default=10, help="play all again until so many are over")
    arguments.add_argument("--only", help="names of scenarios, with commas between")
    arguments.add_argument("--list", action="store_true", help="name the scenarios")
    arguments.add_argument("--json", action="store_true", help="one object a line")
    chosen = arguments.parse_args()
    if chosen.list:
        for play in scenarios.ALL:
            print(f"{play.__name__:20} {about(play)}")
        return 0
    wanted = chosen.only.split(",") if chosen.only else [play.__name__ for play in scenarios.ALL]
    unknown = set(wanted) - {play.__name__ for play in scenarios.ALL}
    if unknown:
        sys.exit(f"error: no such scenario: {', '.join(sorted(unknown))}; ./soak --list names them")
    # A scenario that is told to end takes its server and its proxy with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    over, broken, number = time.monotonic() + chosen.minutes * 60, 0, 0
    while number == 0 or time.monotonic() < over:
        number += 1
        for play in scenarios.ALL:
            if play.__name__ in wanted and (number == 1 or time.monotonic() < over):
                broken += not played(play, number, chosen.json)
    return 1 if broken else 0


def about(play):
    return play.__doc__.strip().splitlines()[0]


def played(play, number, as_json):
    """Whether what must hold has held. Each scenario has a house of its own, so that none inherits another's damage."""
    started = time.monotonic()
    words, holds = "", False
    try:
        with House() as house:
            words = play(house)
            holds = True
    except Exception as error:  # whatever goes wrong is this scenario's result
        words = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    seconds = time.monotonic() - started
    if as_json:
        result = {"scenario": play.__name__, "round": number, "holds": holds, "measured": words}
        print(json.dumps({**result, "seconds": round(seconds, 1)}), flush=True)
    else:
        print(f"{'holds' if holds else 'BROKEN':7} {about(play)} ({seconds:.0f} s)\n        {words}", flush=True)
    return holds


if __name__ == "__main__":
    sys.exit(main())
