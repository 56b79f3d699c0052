"""`python -m llm_anatomy.artefacts.verify [RESULTS]`: is every result what its manifest says?"""

import sys
from pathlib import Path

from llm_anatomy.artefacts.manifest import find_problems, result_files
from llm_anatomy.errors import UserError


def main(arguments: list[str]) -> int:
    """Check a results folder; print one line for every problem.

    Returns:
        0 when every file is right, 1 otherwise.
    """
    results = Path(arguments[0] if arguments else "results")
    try:
        problems = list(find_problems(results))
    except UserError as error:
        problems = [str(error)]
    for problem in problems:
        sys.stderr.write(f"Error: {problem}\n")
    if not problems:
        sys.stdout.write(f"{len(result_files(results))} files in {results} are intact.\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
