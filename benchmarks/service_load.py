"""`mspn serve` under load beside `predict_many`: people a second, latency, every answer compared.

    python benchmarks/service_load.py FOLDER [--clients 16] [--seconds 60]

The folder holds photographs. Offline and served turns alternate on the same cores; a client sends
the next picture as soon as it has an answer. An answer is wrong if it has other people than the
offline result, or a coordinate that differs by 0.1 pixels.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from mspn.runtime import Predictor


def offline(predictor: Predictor, paths: list[Path], seconds: float) -> tuple[float, list[Any]]:
    """People a second of `predict_many`, and the people of each picture."""
    found, count, start = [], 0, time.perf_counter()
    for people in predictor.predict_many(itertools.cycle(paths)):
        count += len(people)
        if len(found) < len(paths):
            found.append(json.loads(people.to_json()))
        elif time.perf_counter() - start > seconds:
            break
    return count / (time.perf_counter() - start), found


def is_right(people: list[Any], expected: list[Any]) -> bool:
    """Whether an answer is the offline result."""
    if len(people) != len(expected):
        return False
    return all(
        np.abs(np.subtract(one['keypoints'][name], numbers)).max() < 0.1
        for one, other in zip(people, expected, strict=True)
        for name, numbers in other['keypoints'].items()
    )


def served(port: int, contents: list[bytes], expected: list[Any], args: Any) -> dict[str, Any]:
    """What the clients got."""
    times, wrong, errors, people = list[float](), [0], [0], [0]
    numbers, end = itertools.cycle(range(len(contents))), time.perf_counter() + args.seconds

    def client() -> None:
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        while (start := time.perf_counter()) < end:
            number = next(numbers)
            connection.request('POST', '/predict', contents[number], {'Content-Type': 'image/jpeg'})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            times.append(time.perf_counter() - start)
            if answer.status != 200:
                errors[0] += 1
                continue
            found = content['images'][0]['people']
            people[0] += len(found)
            wrong[0] += not is_right(found, expected[number])

    start = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(args.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cuts = statistics.quantiles(times, n=20)
    rate = people[0] / (time.perf_counter() - start)
    counts = dict(answers=len(times), errors=errors[0], wrong=wrong[0])
    return counts | dict(rate=rate, p50=cuts[9] * 1e3, p95=cuts[18] * 1e3)


def main() -> None:
    """Measures, and prints a line for each turn."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', type=Path)
    parser.add_argument('--clients', type=int, default=16)
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--turns', type=int, default=2)
    args = parser.parse_args()
    paths = sorted(args.folder.glob('*.jpg'))
    contents = [path.read_bytes() for path in paths]
    command = [Path(sys.executable).with_name('mspn'), 'serve', '--no-page', '--port', '0']
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert service.stdout
    found = re.search(r':(\d+) ', service.stdout.readline())
    assert found
    predictor, ratios = Predictor(), []
    offline(predictor, paths[:8], 1)
    for _ in range(args.turns):
        rate, expected = offline(predictor, paths, args.seconds)
        print(f'predict_many: {rate:.1f} people/s', flush=True)
        result = served(int(found[1]), contents, expected, args)
        print('service:', ', '.join(f'{k} {v:.4g}' for k, v in result.items()), flush=True)
        ratios.append(result['rate'] / rate)
    service.terminate()
    print(f'ratio of people/s: {statistics.median(ratios):.2f}')


if __name__ == '__main__':
    main()
