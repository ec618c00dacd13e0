import subprocess
import sys


def test_the_service_runs_without_the_converters_and_the_trainers_libraries() -> None:
    program = (
        "import sys\n"
        "import service.command, service.server, detection.command\n"
        "heavy = {'onnx', 'google.protobuf', 'torch', 'cv2', 'convert', 'training', 'grpc'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
