"""Programs that live on scripts of Lua, with their own libraries: locks of redis-py, rq, huey, and Celery with kombu."""
import operator
import os
import threading
import time

import redis
from celery import Celery
from huey import RedisExpireHuey
from huey.consumer import Consumer
from redis.lock import Lock
from rq import Queue, SimpleWorker

PORT = int(os.environ["E2E_PORT"])
URL = f"redis://127.0.0.1:{PORT}/0"


def until(what, holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it never came: {what}"
        time.sleep(0.01)


def locks():
    r = redis.Redis(port=PORT)
    counter = {"value": 0}

    def work():
        own = redis.Redis(port=PORT)
        for _ in range(20):
            with Lock(own, "lock", timeout=10, sleep=0.001):
                seen = counter["value"]
                time.sleep(0.0002)
                counter["value"] = seen + 1

    threads = [threading.Thread(target=work) for _ in range(5)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert counter["value"] == 100, counter
    lock = Lock(r, "lock", timeout=10)
    assert lock.acquire() and lock.extend(10) and lock.reacquire()
    r.delete("lock")
    try:
        lock.release()
        raise AssertionError("it was lost")
    except redis.exceptions.LockNotOwnedError:
        pass


def rq_jobs():
    r = redis.Redis(port=PORT)
    queue = Queue("work", connection=r)
    jobs = [queue.enqueue(operator.add, number, 1) for number in range(30)]
    last = queue.enqueue(operator.add, 40, 2, depends_on=jobs[-1])
    failing = queue.enqueue(operator.truediv, 1, 0)
    SimpleWorker([queue], connection=r).work(burst=True, logging_level="CRITICAL")
    assert [job.return_value() for job in jobs] == list(range(1, 31))
    assert last.return_value() == 42 and failing.is_failed
    assert queue.failed_job_registry.count == 1


def huey_jobs():
    huey = RedisExpireHuey("huey", url=URL)

    @huey.task(retries=2)
    def double(number):
        return number * 2

    @huey.lock_task("only-one")
    def locked():
        return "in"

    consumer = Consumer(huey, workers=2, periodic=False, scheduler_interval=1, initial_delay=0.01, max_delay=0.1)
    consumer.start()
    results = [double(number) for number in range(20)]
    assert [result.get(blocking=True, timeout=20) for result in results] == [number * 2 for number in range(20)]
    assert double.schedule((21,), delay=1).get(blocking=True, timeout=20) == 42
    assert locked() == "in" and huey.pending_count() == 0
    consumer.stop(graceful=True)


def celery_jobs():
    app = Celery("app", broker=URL, backend=URL)
    app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)

    @app.task(name="times")
    def times(one, other):
        return one * other

    from celery.contrib.testing.worker import start_worker

    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, loglevel="ERROR"):
        results = [times.delay(number, 3) for number in range(20)]
        assert [result.get(timeout=30) for result in results] == [number * 3 for number in range(20)]
        assert times.apply_async((6, 7), countdown=1).get(timeout=30) == 42


def main():
    parts = [locks, rq_jobs, huey_jobs, celery_jobs]
    for part in parts:
        redis.Redis(port=PORT).flushall()
        part()
    print(f"{len(parts)} parts")


if __name__ == "__main__":
    main()
