"""Runs KQL queries over rows of customMetrics, as a log search at a moment of the past would.

Reads {"rows": [row], "searches": [{"query": KQL, "from": ms, "to": ms}]} from stdin, where a row is
{"arrived": ms, "timestamp": ms, and the other columns}. A search at its "to" sees the rows whose timestamp
is later than "from" and that have arrived by then. Prints a list of result rows for each search.
"""

import datetime
import json
import sys

import duckdb
import duckdb_kql

# The columns of Application Insights' table that the handler can fill.
COLUMNS = {
    "timestamp": "timestamp",
    "name": "varchar",
    "value": "double",
    "valueCount": "integer",
    "valueSum": "double",
    "valueMin": "double",
    "valueMax": "double",
    "cloud_RoleName": "varchar",
    "cloud_RoleInstance": "varchar",
}


def instant(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).replace(tzinfo=None)


def plain(value):
    if isinstance(value, datetime.datetime):
        return round(value.replace(tzinfo=datetime.UTC).timestamp() * 1000)
    return value


given = json.load(sys.stdin)
database = duckdb.connect()
declared = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
database.execute(f"create table stored (arrived timestamp, {declared})")
for row in given["rows"]:
    values = [instant(row["arrived"]), instant(row["timestamp"])]
    values += [row.get(name) for name in list(COLUMNS)[1:]]
    database.execute(f"insert into stored values ({', '.join('?' * len(values))})", values)
seen = ", ".join(f'"{name}"' for name in COLUMNS)
database.execute(
    f"""create view "customMetrics" as select {seen} from stored
    where timestamp > getvariable('start') and timestamp <= getvariable('moment')
    and arrived <= getvariable('moment')"""
)
statements = {}
for query in {search["query"] for search in given["searches"]}:
    assert not (found := duckdb_kql.validate(query)), found
    statements[query] = duckdb_kql.to_sql(query)
results = []
for search in given["searches"]:
    for name, moment in (("start", search["from"]), ("moment", search["to"])):
        database.execute(f"set variable {name} = '{instant(moment)}'::timestamp")
    found = database.execute(statements[search["query"]])
    names = [column[0] for column in found.description]
    rows = found.fetchall()
    results.append([dict(zip(names, map(plain, row), strict=True)) for row in rows])
json.dump(results, sys.stdout)
