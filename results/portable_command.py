"""Read pictures of staves with the model of this folder; nothing else of the project is needed.

pip install -r requirements.txt
python predict.py staff.png
python predict.py scans/ to=read/ formats=musicxml
python predict.py --help
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = (3, 11)


def main() -> None:
    """Hand the words of the command line to `omr_model.predict`, as it lies in `code/`."""
    if sys.version_info < OLDEST:
        sys.exit("error: Python %d.%d or newer is needed; this is %d.%d" % (OLDEST + sys.version_info[:2]))  # noqa: UP031
    sys.path.insert(0, str(HERE / "code"))  # first: another project has a package called datasets, too
    try:
        from omr_model.predict import run
    except ModuleNotFoundError as error:
        files = " or ".join(str(path) for path in sorted(HERE.glob("requirements*.txt")))
        sys.exit(f"error: the package {error.name} is not installed: pip install -r {files}")
    except ImportError as error:  # OpenCV's usual build wants the libraries of a display
        sys.exit(f"error: {error}; on a machine without a display, install opencv-python-headless for opencv-python")
    run(sys.argv[1:] or ["--help"], checkpoint=str(HERE))


if __name__ == "__main__":
    main()
