"""./dev bench: what the services cost, beside what naive ones cost, in one run.

The server that is measured has the first core to itself; stores and load share the last one. Costs are the server
process's own CPU time, so that a busy machine shifts them little. Servers are measured in turn, several rounds, and
what is compared is ratios of medians.

    machine    cores, CPU time and memory of a process and its children
    watch      a process: many sockets that count what arrives on them
    feed       a process: publishes frames at a rate, and is the history that the hub asks
    call       a process: callers of an HTTP server, each with one request at a time
    servers    what is measured, and how it is started
    hub        the cases of the hub
    api        the cases of the API
    report     JSON, table, chart
"""
