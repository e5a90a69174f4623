"""What all clients are asked, and what the command line says of it."""

import json
import sys

# Scores are 32-bit numbers; a client may print and read them as it likes.
TOLERANCE = 1e-6

base_url = sys.argv[1]
_asked = json.load(open(sys.argv[2]))
QUERY, TEXTS = _asked["query"], _asked["texts"]
# The texts' places and scores, best first.
expected = [(result["index"], result["score"]) for result in _asked["results"]]


def check(client, found, count=len(TEXTS)):
    """`found`: place and score of each text, best first."""
    found = list(found)
    assert len(found) == count, f"{client}: {len(found)} results of {count}"
    for (index, score), (i, s) in zip(found, expected):
        assert index == i and abs(score - s) < TOLERANCE, f"{client}: {found}, expected {expected}"
    print(f"{client}: {count} results in order, scores as on the command line")
