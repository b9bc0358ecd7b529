"""python model/runs/typing_traces.py: write the typing traces of `nl2code bench typing`.

A model of a hand, not recordings of people: about 55 words a minute, log-normal gaps, longer before a word and much
longer where one thinks, a slip in some 2 % of keys, noticed within three keys and taken back. The seed is fixed.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

INSTRUCTIONS = """\
write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6
function that reverses the words of a sentence, e.g. reverse_words("a b") == "b a"
return the median of a list of numbers
write a class for a bank account with deposit and withdraw
check whether a string is a palindrome, ignoring case and spaces
parse a date like 2024-01-31 into year, month and day
write a function that flattens a nested list, e.g. flatten([1, [2, [3]]]) == [1, 2, 3]
count how often each word occurs in a text
generate the first n Fibonacci numbers, e.g. fibonacci(5) == [0, 1, 1, 2, 3]
write a function that converts Celsius to Fahrenheit, e.g. to_fahrenheit(100) == 212
split a list into chunks of a given size
remove duplicates from a list but keep the order
write a generator that yields the prime numbers below n
merge two sorted lists into one sorted list
turn snake_case into camelCase, e.g. camel("two_words") == "twoWords"
compute the Levenshtein distance of two strings, e.g. distance("cat", "cut") == 1
write a function to read a CSV file into a list of dictionaries
validate an email address with a regular expression
write a context manager that measures the time of its block
rotate a list by k places to the left, e.g. rotate([1, 2, 3], 1) == [2, 3, 1]
write a function that formats a number of bytes for people, e.g. human(2048) == "2.0 KiB"
group the items of a list by a key function
return the n largest values of a dictionary with their keys
write a binary search that returns the index, or -1
count the vowels of a word, e.g. vowels("banana") == 3
transpose a matrix given as a list of rows
write a function that computes compound interest for principal, rate and years
find the longest common prefix of a list of strings
schreibe eine Funktion, die prüft, ob ein Jahr ein Schaltjahr ist
写一个函数，计算列表中所有偶数的和，例如 total([1, 2, 4]) == 6
"""
TARGET = Path(__file__).parents[1] / "nl2code_model" / "bench" / "traces.jsonl"


def gap(draw: random.Random, median: float, spread: float) -> int:
    return round(median * math.exp(draw.gauss(0, spread)))  # ms


def trace(number: int, text: str) -> dict[str, object]:
    draw = random.Random(number)  # noqa: S311
    keys: list[str] = []
    pauses: list[int] = []

    def press(key: str, pause: int) -> None:
        keys.append(key)
        pauses.append(pause)

    before = "\n"
    for key in f"# {text}":
        pause = gap(draw, 130, 0.4)
        if before == " ":
            pause += gap(draw, 90, 0.7)
            if draw.random() < 0.08:
                pause += gap(draw, 900, 0.6)
        if before == "," and draw.random() < 0.6:
            pause += gap(draw, 700, 0.6)
        if key.isalpha() and draw.random() < 0.02:
            wrong = [draw.choice("etaoinshrdlu") for _ in range(draw.randint(1, 3))]
            for slip in wrong:
                press(slip, gap(draw, 120, 0.3))
            for at, _ in enumerate(wrong):
                press("\b", gap(draw, 350 if at == 0 else 110, 0.3))
        press(key, pause)
        before = key
    return {"id": f"t{number:02}", "keys": keys, "pauses": pauses, "rest": gap(draw, 700, 0.4)}


def main() -> None:
    lines = [
        json.dumps(trace(number, text), ensure_ascii=False, separators=(",", ":"))
        for number, text in enumerate(INSTRUCTIONS.splitlines())
    ]
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} traces in {TARGET}")


if __name__ == "__main__":
    main()
