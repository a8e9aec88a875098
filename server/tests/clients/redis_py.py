"""Everyday use of a server through redis-py. Usage: redis_py.py PORT [lux]

Everything here passes on Redis; the argument `lux` adds what needs its tiers. Any failure is an exception.
"""

import sys
import threading

import redis


def basics(r):
    assert r.ping() is True
    assert r.set("greeting", "hello") is True
    assert r.get("greeting") == b"hello"
    assert r.set("greeting", "again", nx=True) is None
    assert r.set("greeting", "again", xx=True, get=True, ex=100) == b"hello"
    assert 98 <= r.ttl("greeting") <= 100
    assert r.set("greeting", "kept", keepttl=True) and r.ttl("greeting") > 0
    assert r.getex("greeting", persist=True) == b"kept" and r.ttl("greeting") == -1
    assert r.getdel("greeting") == b"kept" and r.get("greeting") is None
    assert r.mset({"a": 1, "b": b"\x00\xff", "c": "é"}) is True
    assert r.mget("a", "b", "c", "missing") == [b"1", b"\x00\xff", "é".encode(), None]
    assert r.incr("a", 5) == 6 and r.decr("a") == 5 and r.incrbyfloat("a", 0.5) == 5.5
    assert r.append("b", b"x") == 3 and r.strlen("b") == 3
    assert r.setrange("b", 1, b"Y") == 3 and r.getrange("b", 0, -1) == b"\x00Yx"
    assert r.exists("a", "b", "nothing") == 2 and r.type("a") == b"string"
    assert r.rename("a", "z") is True and r.renamenx("z", "b") is False
    assert r.copy("z", "y") is True and r.touch("z", "y") == 2
    assert r.expire("z", 1000, gt=True) is False and r.expire("z", 1000, lt=True) is True
    assert r.persist("z") is True and r.unlink("z", "y") == 2
    assert r.object("encoding", "b") in (b"raw", b"embstr")
    payload = r.dump("b")
    assert r.restore("copy", 0, payload) and r.get("copy") == b"\x00Yx"
    assert r.dbsize() == 3 and r.flushdb() is True and r.dbsize() == 0


def bits(r):
    assert r.setbit("bits", 7, 1) == 0 and r.getbit("bits", 7) == 1
    assert r.bitcount("bits") == 1 and r.bitpos("bits", 1) == 7
    assert r.bitop("NOT", "inverse", "bits") == 1 and r.get("inverse") == b"\xfe"
    field = r.bitfield("field", default_overflow="SAT")
    assert field.set("u8", "#0", 250).incrby("u8", "#0", 10).get("u8", "#0").execute() == [0, 255, 255]
    assert r.lcs("bits", "bits", len=True) == 1


def errors(r):
    r.set("text", "abc")
    for call in (lambda: r.incr("text"), lambda: r.execute_command("NOSUCH"), lambda: r.set("text", "v", ex=0)):
        try:
            call()
        except redis.ResponseError as error:
            assert str(error), error
        else:
            raise AssertionError("an error was expected")
    assert r.get("text") == b"abc"


def pipelines(r):
    pipe = r.pipeline(transaction=False)
    for number in range(2000):
        pipe.set(f"p:{number}", number)
        pipe.incr(f"p:{number}")
    replies = pipe.execute()
    assert replies[1::2] == [number + 1 for number in range(2000)]
    assert r.mget(*(f"p:{number}" for number in range(2000))) == [b"%d" % (n + 1) for n in range(2000)]


def scanning(r, lux):
    r.flushall()
    pipe = r.pipeline(transaction=False)
    for number in range(5000):
        pipe.set(f"user:{number}" if number % 2 else f"item:{{{number % 7}}}:{number}", number)
    pipe.execute()
    if lux:
        r.execute_command("DEBUG", "EVICT-ALL")
        r.execute_command("TIER", "PROMOTE", *(f"user:{number}" for number in range(1, 1000, 2)))
    keys = list(r.scan_iter(count=100))
    assert len(set(keys)) == 5000 and r.dbsize() == 5000
    assert len(set(r.scan_iter(match="user:*"))) == 2500
    assert len(set(r.scan_iter(match="user:*", _type="string", count=7))) == 2500
    assert set(r.keys("item:*")) == {key for key in keys if key.startswith(b"item:")}
    assert r.randomkey() in set(keys)


def large_values(r):
    value = bytes(range(256)) * 40960
    assert r.set("large", value) and r.get("large") == value
    assert r.getrange("large", 5_000_000, 5_000_003) == value[5_000_000:5_000_004]
    assert r.append("large", b"end") == len(value) + 3 and r.getrange("large", -3, -1) == b"end"
    assert r.delete("large") == 1


def threads(r):
    r.delete("shared")

    def work():
        for _ in range(300):
            r.incr("shared")

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert r.get("shared") == b"2400"


def administration(r):
    info = r.info()
    assert info["redis_version"] and info["role"] == "master" and info["connected_clients"] >= 1
    assert r.info("keyspace").get("db0", {}).get("keys", 0) == r.dbsize()
    assert r.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert r.config_set("timeout", 0) is True
    assert r.client_setname("smoke") is True and r.client_getname() in ("smoke", b"smoke")
    assert any(client["name"] == "smoke" for client in r.client_list())
    assert r.client_id() > 0 and r.client_info()["name"] == "smoke"
    assert r.command_count() > 60 and "get" in r.command()
    assert r.time()[0] > 1_700_000_000 and r.lastsave()
    assert r.memory_usage("shared") > 0
    assert r.swapdb(0, 5) is True and r.swapdb(0, 5) is True
    assert r.save() is True


def main():
    port = int(sys.argv[1])
    lux = sys.argv[2:] == ["lux"]
    for protocol in (2, 3):
        r = redis.Redis(port=port, protocol=protocol)
        r.flushall()
        basics(r)
        bits(r)
        errors(r)
        pipelines(r)
        scanning(r, lux)
        large_values(r)
        threads(r)
        administration(redis.Redis(port=port, protocol=protocol, single_connection_client=True))
    other = redis.Redis.from_url(f"redis://127.0.0.1:{port}/3", decode_responses=True)
    assert other.set("é", "ü") and other.get("é") == "ü"
    assert redis.Redis(port=port, db=3).exists("é") and not redis.Redis(port=port).exists("é")


main()
