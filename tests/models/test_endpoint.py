"""The endpoint backend against real HTTP servers: a scripted one that fails in every way, and `transformers serve`."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ledexlib import params
from ledexlib.models import checkpoint_path, load_generator
from ledexlib.models.endpoint import EndpointError, EndpointGenerator
from ledexlib.records import Sampling

SAMPLING = Sampling(temperature=0.8, top_p=0.9, max_tokens=20, seed=3)
CHAT = [{"role": "user", "content": "Hello"}]
Reply = tuple[int, dict[str, str], str | bytes]  # status, headers, body


class Server:
    """A server whose ``reply(body, number of the request)`` is a test's script; it keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.busy = self.most_busy = 0
        self.reply: Callable[[dict, int], Reply] = completed
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server.requests.append(body)
                    server.paths.append(self.path)
                    number = len(server.requests) - 1
                    server.busy += 1
                    server.most_busy = max(server.busy, server.most_busy)
                status, headers, content = server.reply(body, number)
                data = content if isinstance(content, bytes) else content.encode()
                with lock:
                    server.busy -= 1
                try:
                    self.send_response(status)
                    for name, value in {"Content-Type": "application/json", **headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True  # the client did not wait for a slow answer

            def log_message(self, *_: object) -> None:
                pass

        class Http(ThreadingHTTPServer):
            request_queue_size = 64  # or a busy machine turns clients away

        self._http = Http(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


def answer(texts: list[str | None], chat: bool) -> str:
    contents = [{"message": {"role": "assistant", "content": t}} if chat else {"text": t} for t in texts]
    choices = [{"index": i, "finish_reason": "stop", **content} for i, content in enumerate(contents)]
    usage = {"prompt_tokens": 7, "completion_tokens": 5 * len(texts), "total_tokens": 7 + 5 * len(texts)}
    return json.dumps({"id": "1", "object": "x", "created": 1, "model": "m", "choices": choices, "usage": usage})


def completed(body: dict, number: int) -> Reply:
    texts = [f"{body['seed']}/{i}" for i in range(body.get("n", 1))]
    return 200, {}, answer(texts, "messages" in body)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The openai client's waits before the second and later tries, shortened."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def client(*urls: str, **options: Any) -> EndpointGenerator:
    return EndpointGenerator("m", urls, **{"timeout": 30.0, "max_retries": 3, **options})


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_text_and_conversations_go_to_their_routes(server: Server) -> None:
    answers = client(server.url).generate(["def f", CHAT], 3, SAMPLING)
    assert [len(completions) for completions in answers] == [3, 3]
    assert sorted(server.paths) == ["/v1/chat/completions", "/v1/completions"]
    text, chat = sorted(server.requests, key=lambda body: "messages" in body)
    common = {"model": "m", "temperature": 0.8, "top_p": 0.9, "max_tokens": 20, "n": 3}
    assert text.items() >= {**common, "prompt": "def f", "stop": ["[DONE]"]}.items()
    assert chat.items() >= {**common, "messages": CHAT}.items() and "stop" not in chat
    assert text["seed"] != chat["seed"]
    assert answers[0][2].text == f"{text['seed']}/2" and answers[0][2].finished and answers[0][2].tokens == 5


def test_the_same_call_sends_the_same_seeds(server: Server) -> None:
    generator = client(server.url)
    first = generator.generate(["a", "b"], 2, SAMPLING)
    assert generator.generate(["a", "b"], 2, SAMPLING) == first
    assert generator.generate(["a", "b"], 2, SAMPLING.model_copy(update={"seed": 4})) != first


@pytest.mark.parametrize("most", [1, 2, 3])
def test_fewer_choices_than_asked_are_made_up_for(server: Server, most: int) -> None:
    server.reply = lambda body, number: completed({**body, "n": min(most, body.get("n", 1))}, number)
    generator = client(server.url)
    for _ in range(2):
        for completions in generator.generate(["a", "b"], 5, SAMPLING):
            assert len({completion.text for completion in completions}) == 5  # so all seeds differ
    assert sum(body.get("n", 1) > most for body in server.requests) <= 2  # it has learnt what the server gives


def test_more_choices_than_asked_are_cut(server: Server) -> None:
    server.reply = lambda body, number: completed({**body, "n": 9}, number)
    assert [len(c) for c in client(server.url).generate(["a"], 2, SAMPLING)] == [2]


TROUBLES: dict[str, Reply] = {
    "429": (429, {}, '{"error": {"message": "slow down"}}'),
    "408": (408, {}, "{}"),
    "500": (500, {}, '{"error": {"message": "oops"}}'),
    "503 html": (503, {"Content-Type": "text/html"}, "<html>down</html>"),
    "not json": (200, {}, '{"choices": [{"te'),
    "html": (200, {"Content-Type": "text/html"}, "<html>Welcome</html>"),
    "no choices": (200, {}, answer([], True)),
    "choices null": (200, {}, '{"choices": null}'),
    "list": (200, {}, "[]"),
    "null": (200, {}, "null"),
    "content null": (200, {}, answer([None], True)),
    "message missing": (200, {}, '{"choices": [{"index": 0}]}'),
    "choice of text": (200, {}, '{"choices": ["hello"]}'),
    "bad utf-8": (200, {}, b"\xff\xfe{"),
    "empty": (200, {}, ""),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_passing_trouble_is_survived(server: Server, trouble: str, tmp_path: Path) -> None:
    server.reply = lambda body, number: TROUBLES[trouble] if number < 2 else completed(body, number)
    generator = client(server.url, log_path=tmp_path / "log.jsonl")
    assert generator.generate([CHAT], 1, SAMPLING)[0][0].text.endswith("/0")
    assert len(server.requests) == 3
    (line,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (line["tries"], line["error"]) == (3, None)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_lasting_trouble_is_reported(server: Server, trouble: str) -> None:
    server.reply = lambda body, number: TROUBLES[trouble]
    with pytest.raises(EndpointError, match=f"model m: no answer after 4 tries; the last from {server.url}: ."):
        client(server.url).generate([CHAT], 1, SAMPLING)
    assert len(server.requests) == 4


def test_an_answer_without_completions_is_described(server: Server) -> None:
    server.reply = lambda body, number: (200, {}, '{"choices": null}')
    with pytest.raises(EndpointError, match=rf"from {server.url}: TypeError .* in the answer .*choices.*null"):
        client(server.url).generate([CHAT], 1, SAMPLING)


def test_retry_after_is_honoured(server: Server) -> None:
    times: list[float] = []

    def reply(body: dict, number: int) -> Reply:
        times.append(time.monotonic())
        return (429, {"Retry-After": "1"}, "{}") if number == 0 else completed(body, number)

    server.reply = reply
    client(server.url).generate([CHAT], 1, SAMPLING)
    assert times[1] - times[0] >= 1.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refused_request_fails_at_once_with_the_servers_words(server: Server, status: int) -> None:
    server.reply = lambda body, number: (status, {}, '{"error": {"message": "no model m here"}}')
    with pytest.raises(EndpointError, match=rf"after 1 try; the last from {server.url}: .*no model m here"):
        client(server.url).generate([CHAT], 1, SAMPLING)
    assert len(server.requests) == 1


def test_a_hanging_server_times_out(server: Server) -> None:
    def reply(body: dict, number: int) -> Reply:
        hang.wait(60 if number == 0 else 0)
        return completed(body, number)

    hang = threading.Event()
    server.reply = reply
    assert client(server.url, timeout=0.5, max_retries=8).generate([CHAT], 1, SAMPLING)[0]
    assert len(server.requests) > 1  # the first would have been answered in the end
    hang.set()


def test_a_dribbling_server_times_out() -> None:
    """The limit is on the whole request: a byte now and then does not keep it open."""
    listener = socket.create_server(("127.0.0.1", 0))
    waited_for: list[socket.socket] = []  # connections that the client kept to their end

    def dribble() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    def drip(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n")
                for _ in range(50):
                    connection.sendall(b" ")
                    time.sleep(0.1)
                waited_for.append(connection)
            except OSError:
                return

    threading.Thread(target=dribble, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match=r"no answer within 0.3 s"):
        client(url, timeout=0.3, max_retries=1).generate([CHAT], 1, SAMPLING)
    assert waited_for == []
    listener.close()


def test_a_down_endpoint_is_named() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(EndpointError, match=f"model m: no answer after 3 tries; the last from {url}: Connection error"):
        client(url, max_retries=2).generate([CHAT, "x"], 2, SAMPLING)


def test_others_are_used_while_one_is_down(server: Server) -> None:
    down = f"http://127.0.0.1:{free_port()}/v1"
    answers = client(down, server.url, max_retries=0).generate(["x"] * 20, 1, SAMPLING)
    assert all(len(completions) == 1 for completions in answers)
    assert len(server.requests) == 20


def test_a_busy_endpoint_sends_on_to_another_at_once(server: Server, tmp_path: Path) -> None:
    busy = Server()
    busy.reply = lambda body, number: (429, {"Retry-After": "60"}, "{}")
    client(busy.url, server.url, max_retries=0, log_path=tmp_path / "log").generate(["x"] * 10, 1, SAMPLING)
    assert len(server.requests) == 10 and 1 <= len(busy.requests) <= 10
    assert {json.loads(line)["endpoint"] for line in (tmp_path / "log").read_text().splitlines()} == {server.url}
    busy.close()


def test_several_endpoints_share_the_work(server: Server) -> None:
    other = Server()
    client(server.url, other.url).generate(["x"] * 20, 1, SAMPLING)
    assert (len(server.requests), len(other.requests)) == (10, 10)
    other.close()


def test_requests_in_flight_are_capped(server: Server) -> None:
    def reply(body: dict, number: int) -> Reply:
        time.sleep(0.03)
        return completed(body, number)

    server.reply = reply
    client(server.url, requests_in_flight=3).generate(["x"] * 15, 1, SAMPLING)
    assert server.most_busy == 3


def test_a_failure_cancels_the_rest(server: Server) -> None:
    def reply(body: dict, number: int) -> Reply:
        if body["prompt"] == "bad":
            return 400, {}, '{"error": {"message": "bad prompt"}}'
        hang.wait(60)
        return completed(body, number)

    hang = threading.Event()
    server.reply = reply
    with pytest.raises(EndpointError, match=r"1 try; the last from .*: status 400: .*bad prompt"):
        client(server.url, timeout=60.0).generate(["x"] * 10 + ["bad"] + ["x"] * 50, 1, SAMPLING)
    assert len(server.requests) <= 17
    hang.set()


def test_order_is_kept_however_answers_arrive(server: Server) -> None:
    def reply(body: dict, number: int) -> Reply:
        time.sleep(0.2 if body["prompt"] == "0" else 0)
        return 200, {}, answer([body["prompt"]], False)

    server.reply = reply
    answers = client(server.url).generate([str(i) for i in range(8)], 1, SAMPLING)
    assert [completions[0].text for completions in answers] == [str(i) for i in range(8)]


def test_a_stop_string_that_the_server_left_is_cut(server: Server) -> None:
    server.reply = lambda body, number: (200, {}, answer(["def f(): pass\n[DONE]\nTask: x"], False))
    ((completion,),) = client(server.url).generate(["x"], 1, SAMPLING)
    assert completion.text == "def f(): pass\n" and completion.finished
    ((whole,),) = client(server.url, stop=()).generate(["x"], 1, SAMPLING)
    assert whole.text.endswith("Task: x") and "stop" not in server.requests[-1]


def test_a_cut_off_answer_is_not_finished(server: Server) -> None:
    cut = {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "I th"}}
    hidden = {"index": 1, "finish_reason": "length", "message": {"role": "assistant", "content": None}}
    withheld = {"index": 2, "finish_reason": "content_filter", "message": {"role": "assistant", "content": None}}
    server.reply = lambda body, number: (200, {}, json.dumps({"choices": [cut, hidden, withheld]}))
    (answers,) = client(server.url).generate([CHAT], 3, SAMPLING)
    assert [(c.text, c.finished) for c in answers] == [("I th", False), ("", False), ("", True)]


def test_it_works_where_an_event_loop_is_running(server: Server) -> None:
    """As in a Jupyter kernel, whose cells run inside one."""

    async def cell() -> int:
        return len(client(server.url).generate(["x", CHAT], 2, SAMPLING))

    assert asyncio.run(cell()) == 2


def test_requests_and_tokens_are_logged(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "requests.jsonl"
    for _ in range(2):
        client(server.url, log_path=path).generate(["x", CHAT], 2, SAMPLING)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 4
    assert lines[0] == {
        "endpoint": server.url, "model": "m", "tokens_in": 7, "tokens_out": 10, "choices": 2, "tries": 1,
        "seconds": lines[0]["seconds"], "error": None,
    }  # fmt: skip


def test_a_failed_request_is_logged(server: Server, tmp_path: Path) -> None:
    server.reply = lambda body, number: TROUBLES["500"]
    generator = client(server.url, log_path=tmp_path / "log.jsonl", max_retries=1)
    with pytest.raises(EndpointError):
        generator.generate([CHAT], 1, SAMPLING)
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["tries"] == 2 and "oops" in line["error"]


def test_a_server_that_draws_nothing_is_noticed(server: Server) -> None:
    server.reply = lambda body, number: (200, {}, answer(["same"] * body["n"], True))
    generator = client(server.url)
    with pytest.warns(UserWarning, match="all 4 samples of every prompt are equal at temperature 0.8"):
        generator.generate([CHAT], 4, SAMPLING)


def test_the_parameters_make_the_client(server: Server, tmp_path: Path) -> None:
    p = params.validate({"teacher": "m", "teacher_endpoints": [server.url], "requests_in_flight": 3})
    teacher = load_generator("teacher", p, tmp_path / "log.jsonl")
    teacher.generate([CHAT], 1, SAMPLING)
    assert (teacher.name, teacher.requests_in_flight, teacher.timeout, teacher.max_retries) == ("m", 3, 120.0, 5)
    assert (tmp_path / "log.jsonl").exists()


# transformers serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URL and model of a real server on the packaged backbone, whose generation config is made to allow sampling."""
    folder = tmp_path_factory.mktemp("served") / "mini"
    shutil.copytree(checkpoint_path("mini"), folder)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "do_sample": True}))
    port = free_port()
    command = Path(sys.executable).parent / "transformers"
    log = folder.parent / "server.log"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [command, "serve", folder, "--port", str(port), "--device", "cpu", "--dtype", "float32"],
            stdout=output, stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip
        try:
            wait_for(f"http://localhost:{port}/health", process, log)
            yield f"http://localhost:{port}/v1", str(folder)
        finally:
            process.terminate()
            process.wait(timeout=10)


def wait_for(url: str, process: subprocess.Popen, log: Path, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"the server did not start:\n{log.read_text()[-2000:]}")


def test_transformers_serve_gives_as_many_samples_as_asked(served: tuple[str, str]) -> None:
    """It answers one choice whatever n asks, and leaves stop strings in the text."""
    url, model = served
    generator = EndpointGenerator(model, [url], stop=("e",), requests_in_flight=2)
    text, chat = generator.generate(["def add(a, b):\n", CHAT], 4, Sampling(max_tokens=12, seed=1))
    assert len(text) == len(chat) == 4
    assert len({completion.text for completion in text + chat}) > 4
    assert all("e" not in completion.text for completion in text)
    assert all(0 < completion.tokens <= 12 for completion in text + chat)


def test_transformers_serve_agrees_with_the_model_in_process(served: tuple[str, str]) -> None:
    from ledexlib.models.local import TransformersGenerator

    url, model = served
    greedy = Sampling(temperature=0.0, max_tokens=12)
    prompts = ["def add(a, b):\n", CHAT]
    here = TransformersGenerator(model, device="cpu").generate(prompts, 1, greedy)
    there = EndpointGenerator(model, [url]).generate(prompts, 1, greedy)
    assert [c[0].text for c in there] == [c[0].text for c in here]


def test_transformers_serve_refuses_another_model(served: tuple[str, str]) -> None:
    with pytest.raises(EndpointError, match="Server is pinned to"):
        EndpointGenerator("another", [served[0]]).generate([CHAT], 1, SAMPLING)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "thinking"}, *({"type": "text", "text": text} for text in ("It ", "ends"))], "It ends"),
        ("half an emoji \ud83d", "half an emoji \\ud83d"),
    ],
)  # fmt: skip
def test_parts_are_joined_and_what_no_file_can_hold_is_escaped(server: Server, content: Any, text: str) -> None:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": "7", "completion_tokens": float("nan")}
    server.reply = lambda body, number: (200, {}, json.dumps({"choices": [choice], "usage": usage}))
    ((completion,),) = EndpointGenerator("m", [server.url]).generate([CHAT], 1, SAMPLING)
    assert (completion.text, completion.tokens) == (text, 0)


def test_an_answer_nested_without_end_is_tried_again(server: Server) -> None:
    good = server.reply
    server.reply = lambda body, number: (200, {}, "[" * 200_000) if number == 0 else good(body, number)
    assert len(EndpointGenerator("m", [server.url]).generate([CHAT], 1, SAMPLING)[0]) == 1
    assert len(server.requests) == 2
