"""A small web server that does what it is told, a word a line on stdin: the target of tests of triggers.

`slow S`: it answers after S seconds. `busy S`: so does it, at work. `status N`. `stand`: it answers no more, and
nothing moves in it. `refuse`: it closes its door. `spin`: a thread that works. `spawn`: children that work and end.
`fds N` and `threads N`: it leaks them. `exit N`. Every word is answered by itself on stdout. The argument is the port.
"""

import http.server
import os
import subprocess
import sys
import threading
import time

leaked = []
shut = threading.Lock()
told = {"slow": 0.0, "busy": 0.0, "status": 200}


def answer_slowly():
    time.sleep(told["slow"])


def compute_answer():
    until = time.thread_time() + told["busy"]
    while time.thread_time() < until:
        sum(range(1000))


def wait_for_door():
    with shut:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wait_for_door()
        answer_slowly()
        compute_answer()
        self.send_response(told["status"])
        self.end_headers()

    def log_message(self, *arguments):
        pass


def spin_here():
    while True:
        sum(range(1000))


def spawn_here():
    while True:
        subprocess.run([sys.executable, "-Sc", "sum(range(3_000_000))"])


def sleep_here():
    time.sleep(1000)


def start(function):
    threading.Thread(target=function, daemon=True).start()


def leak_descriptors(number):
    leaked.extend(os.open(__file__, os.O_RDONLY) for _ in range(number))


def main():
    server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    start(server.serve_forever)
    print("ready", flush=True)
    for line in sys.stdin:
        word, number = (*line.split(), "0")[:2]
        if word in told:
            told[word] = type(told[word])(number)
        elif word == "stand":
            shut.acquire()
        elif word == "refuse":
            server.shutdown()
            server.server_close()
        elif word == "spin":
            start(spin_here)
        elif word == "spawn":
            start(spawn_here)
        elif word == "fds":
            leak_descriptors(int(number))
        elif word == "threads":
            for _ in range(int(number)):
                start(sleep_here)
        elif word == "exit":
            os._exit(int(number))
        print(word, flush=True)


if __name__ == "__main__":
    main()
