"""Checks what avahi (with its reflector), python-zeroconf and mdns-sd see of nodes, and nodes of them.

scripts/mdns-tools calls it.

Two networks, one0 and two0, are joined by a router that runs avahi as a reflector. Each check prints a line.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

BINARY, MDNS_SD = sys.argv[1:3]
SERVICE = "_p2p-ai-agents._tcp.local."
WORK = tempfile.mkdtemp()
failed = False


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


def inside(place, *command):
    return ("nsenter", f"--net=/run/netns/{place}", *command)


def place(name, *legs):
    run("ip", "netns", "add", name)
    run(*inside(name, "ip", "link", "set", "lo", "up"))
    for bridge, address in legs:
        leg = f"{name}{bridge}"[:15]
        run("ip", "link", "add", leg, "type", "veth", "peer", "name", bridge, "netns", name)
        run("ip", "link", "set", leg, "master", bridge, "up")
        run(*inside(name, "ip", "addr", "add", address, "dev", bridge))
        run(*inside(name, "ip", "link", "set", bridge, "up"))


def node(name, *flags, wait=True):
    environment = {"PATH": os.environ["PATH"], "P2P_AI_HOME": f"{WORK}/{name}", "XDG_RUNTIME_DIR": WORK}
    subprocess.Popen(
        inside(name, BINARY, "node", "start", "--foreground", "--no-model", *flags),
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    if wait:
        until(lambda: status(name), 30)


def command(name, *words):
    environment = {"PATH": os.environ["PATH"], "P2P_AI_HOME": f"{WORK}/{name}", "XDG_RUNTIME_DIR": WORK}
    return subprocess.run(inside(name, BINARY, *words), env=environment, capture_output=True, text=True).stdout


def status(name):
    try:
        answer = json.loads(command(name, "node", "status", "--json"))
        return answer if answer.get("state") == "ACTIVE" else None
    except ValueError:
        return None


def until(what, seconds):
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if found := what():
            return time.monotonic() - begun, found
        time.sleep(0.05)
    return seconds, None


def check(what, good, more=""):
    global failed
    failed |= not good
    print(f"{'ok    ' if good else 'FAILED'}  {what}  {more}", flush=True)


def output(name, *command, timeout=10):
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={WORK}/bus"}
    try:
        ran = subprocess.run(inside(name, *command), env=environment, capture_output=True, text=True, timeout=timeout)
        return ran.stdout
    except subprocess.TimeoutExpired:
        return ""


def avahi(name, reflector):
    """Runs an avahi daemon, the one that is no reflector with a message bus of its own."""
    configuration = f"{WORK}/{name}.conf"
    with open(configuration, "w") as file:
        file.write(f"[server]\nhost-name={name}\nenable-dbus={'no' if reflector else 'yes'}\nuse-ipv6=no\n")
        file.write(f"[reflector]\nenable-reflector={'yes' if reflector else 'no'}\n")
    if not reflector:
        with open(f"{WORK}/bus.conf", "w") as file:
            file.write(
                f"<busconfig><listen>unix:path={WORK}/bus</listen><auth>EXTERNAL</auth><auth>ANONYMOUS</auth>"
                "<allow_anonymous/><policy context='default'><allow send_destination='*' eavesdrop='true'/>"
                "<allow eavesdrop='true'/><allow own='*'/></policy></busconfig>"
            )
        subprocess.Popen(inside(name, "dbus-daemon", "--nofork", f"--config-file={WORK}/bus.conf"))
        until(lambda: os.path.exists(f"{WORK}/bus"), 5)
    # Otherwise the daemons of both namespaces would share one PID file.
    script = f"mkdir -p {WORK}/run-{name} && mount --bind {WORK}/run-{name} /run && exec avahi-daemon " \
             f"--no-drop-root --no-chroot --no-rlimits -f {configuration}"
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={WORK}/bus"}
    subprocess.Popen(
        inside(name, "unshare", "-m", "sh", "-ec", script),
        env=environment, stdout=subprocess.DEVNULL, stderr=open(f"{WORK}/{name}.log", "w"),
    )


def one_shot(name, kind):
    """Asks as a program does that knows nothing of mDNS."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"
    packet = struct.pack("!6H", 4711, 0, 1, 0, 0, 0) + question + struct.pack("!HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2)
        asker.sendto(packet, ("224.0.0.251", 5353))
        try:
            answer = asker.recv(1500)
        except TimeoutError:
            return False
        return struct.unpack("!H", answer[:2])[0] == 4711 and struct.unpack("!H", answer[6:8])[0] > 0


class Tool:
    """A program in the place of the tools that takes a command a line and answers each."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            inside("tool", *command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() == "True"

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def check_library(name, tool, identity, made_up):
    """Checks that a library finds a node, and that a node hears of what the library announces."""
    check(f"{name} resolves a node", tool.ask(f"find {identity}"))
    before = status("a")["discovery"]["nodes"]
    tool.ask(f"register {made_up}")
    check(f"a node hears what {name} announces", until(lambda: status("a")["discovery"]["nodes"] > before, 5)[1])
    tool.ask(f"unregister {made_up}")
    check("and its goodbye", until(lambda: status("a")["discovery"]["nodes"] == before, 6)[1])


def zeroconf_inside():
    from zeroconf import ServiceInfo, Zeroconf

    zeroconf = Zeroconf()
    try:
        for line in sys.stdin:
            words = line.split()
            if words[0] == "find":
                info = zeroconf.get_service_info(SERVICE, f"{words[1]}.{SERVICE}", 3000)
                print(bool(info and info.port and info.addresses), flush=True)
            elif words[0] == "one-shot":
                print(one_shot(words[1], int(words[2])), flush=True)
            else:
                info = ServiceInfo(
                    SERVICE, f"{words[1]}.{SERVICE}", 9000, addresses=[socket.inet_aton("10.1.0.9")],
                    properties={"net": "local"}, server="made-up.local.",
                )
                getattr(zeroconf, f"{words[0]}_service")(info)
                print(True, flush=True)
    finally:
        zeroconf.close()


def main():
    for bridge in ("one0", "two0"):
        run("ip", "link", "add", bridge, "type", "bridge")
        run("ip", "link", "set", bridge, "up")
    place("router", ("one0", "10.1.0.1/24"), ("two0", "10.2.0.1/24"))
    run(*inside("router", "sysctl", "-qw", "net.ipv4.ip_forward=1"))
    for name, bridge, net, host in (("a", "one0", 1, 2), ("b", "two0", 2, 2), ("c", "two0", 2, 3), ("tool", "one0", 1, 9)):
        place(name, (bridge, f"10.{net}.0.{host}/24"))
        run(*inside(name, "ip", "route", "add", "default", "via", f"10.{net}.0.1"))
    avahi("router", reflector=True)
    time.sleep(3)

    node("a")
    node("b")
    took, met = until(lambda: status("b")["members"] == 2, 60)
    check("two nodes on both sides of a reflector meet", met and took < 2, f"{took:.2f} s")
    # The reflector answers from its cache, in parts.
    time.sleep(5)
    node("c")
    took, met = until(lambda: status("c")["members"] == 3, 60)
    check("one that starts later meets both", met and took < 2, f"{took:.2f} s")
    unusable = {name: status(name)["discovery"]["packets_unusable"] for name in "abc"}
    check("every packet was understood", not any(unusable.values()), unusable)

    identity = status("a")["node_id"]
    zeroconf = Tool(sys.executable, __file__, BINARY, MDNS_SD, "zeroconf")
    check_library("python-zeroconf", zeroconf, identity, "0" * 31 + "1")
    for asked, kind in ((SERVICE, 12), ("_services._dns-sd._udp.local.", 12), (f"{identity[:12]}.local.", 1)):
        check(f"a one-shot question is answered: {asked}", zeroconf.ask(f"one-shot {asked} {kind}"))
    zeroconf.end()

    mdns_sd, announcer, leaves = Tool(MDNS_SD), Tool(MDNS_SD), status("c")["node_id"]
    check("mdns-sd resolves a node behind the reflector", mdns_sd.ask(f"find {leaves}"))
    check_library("mdns-sd", announcer, identity, "0" * 31 + "2")
    announcer.end()
    check("mdns-sd finds the host of a node", mdns_sd.ask(f"host {identity[:12]}.local."))
    command("c", "node", "stop")
    check("mdns-sd hears the goodbye of a node", mdns_sd.ask(f"lost {leaves}"))
    mdns_sd.end()

    avahi("tool", reflector=False)
    until(lambda: output("tool", "avahi-resolve", "-4", "-n", "tool.local"), 20)
    # It has not heard of the node in any other way yet.
    found = output("tool", "avahi-resolve", "-4", "-n", f"{identity[:12]}.local")
    check("avahi-resolve finds the host of a node", "10.1.0.2" in found)
    found = output("tool", "avahi-browse", "-rtp", "_p2p-ai-agents._tcp", timeout=20)
    check("avahi-browse resolves a node", f";{identity};" in found and ";10.1.0.2;" in found)
    found = output("tool", "avahi-browse", "-atp", timeout=20)
    check("avahi-browse lists the kind of service", "_p2p-ai-agents._tcp" in found)
    sys.exit(failed)


if len(sys.argv) > 3:
    zeroconf_inside()
else:
    main()
