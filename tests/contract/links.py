"""Tells which links of a description were followed: `links.py DESCRIPTION REPORT...`, the reports as `run` has them made.

A link counts where the request that it leads to had everything that the link gives, and was answered with success. One that
never was is an error: it is wrong, or `valid.py` does not lead there.
"""

import json
import sys
from pathlib import Path


def declared(description):
    """Every link, named as the reports do."""
    operations = {
        operation["operationId"]: (f"{method.upper()} {path}", operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }
    for label, operation in operations.values():
        for status, response in operation["responses"].items():
            for name, link in response.get("links", {}).items():
                yield f"{label} -> [{status}] {name} -> {operations[link['operationId']][0]}"


def scenarios(report):
    for line in Path(report).read_text().splitlines():
        event = json.loads(line)
        if "ScenarioFinished" in event:
            yield event["ScenarioFinished"]["recorder"]


def is_followed(case, link):
    """Whether the request has what the answer before gave.

    What that did not have is left out, as OpenAPI says. What cannot be left out is made up then, and may fit by chance.
    """
    given = 0
    for place, parameters in link["parameters"].items():
        for name, parameter in parameters.items():
            value = parameter.get("value")
            if isinstance(value, (str, int)):
                if str(case.get(place, {}).get(name)) != str(value):
                    return False
                given += 1
            elif parameter["is_required"]:
                return False
    return given > 0


def main(description, *reports):
    followed = {link: 0 for link in declared(json.loads(Path(description).read_text()))}
    for report in reports:
        for scenario in scenarios(report):
            for key, case in scenario.get("cases", {}).items():
                link = case.get("transition")
                response = scenario["interactions"].get(key, {}).get("response")
                if link and link["id"] in followed and response and response["status_code"] // 100 == 2:
                    followed[link["id"]] += is_followed(case["value"], link)
    for link, times in followed.items():
        print(f"{times:6} {link}")
    if not followed or 0 in followed.values():
        sys.exit("these links were never followed: 0 above")


main(*sys.argv[1:])
