"""Sends one request of OpenTelemetry's own encoders three ways: otlp_send.py SERVICE. Its profiles have times, values and
both, attributes, a link and inlined lines; the name of the service ends in the way it is sent."""

import gzip
import importlib
import os
import sys
import time
import types
import urllib.request

import grpc
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2_grpc import ProfilesServiceStub

SERVER = os.environ["FLAMESTORE_SERVER"]
PATH = "/v1development/profiles"
NOW = time.time_ns()


def messages(root, suffix):
    """The messages of an encoder by name."""
    modules = "common.v1.common", "resource.v1.resource", "profiles.v1development.profiles"
    modules += ("collector.profiles.v1development.profiles_service",)
    found = {}
    for module in modules:
        found |= vars(importlib.import_module(f"opentelemetry.{root}.{module}{suffix}"))
    return types.SimpleNamespace(**found)


PROTOBUF = messages("proto", "_pb2")
JSON = messages("proto_json", "")


class Dictionary:
    """Tables of a request; the first row of each stands for none."""

    def __init__(self, encoder):
        self.encoder = encoder
        self.tables = encoder.ProfilesDictionary(
            mapping_table=[encoder.Mapping()], location_table=[encoder.Location()], function_table=[encoder.Function()],
            link_table=[encoder.Link()], string_table=[""], attribute_table=[encoder.KeyValueAndUnit()],
            stack_table=[encoder.Stack()],
        )

    @staticmethod
    def row(table, entry):
        if entry not in table:
            table.append(entry)
        return list(table).index(entry)

    def string(self, text):
        return self.row(self.tables.string_table, text)

    def value_type(self, name, unit):
        return self.encoder.ValueType(type_strindex=self.string(name), unit_strindex=self.string(unit))

    def attribute(self, key, **value):
        value = self.encoder.AnyValue(**value)
        entry = self.encoder.KeyValueAndUnit(key_strindex=self.string(key), value=value)
        return self.row(self.tables.attribute_table, entry)

    def link(self, trace_id, span_id):
        return self.row(self.tables.link_table, self.encoder.Link(trace_id=trace_id, span_id=span_id))

    def stack(self, text):
        """The stack `a;b+c`, root first, c being inlined into b."""
        places = [self.location(place.split("+")) for place in reversed(text.split(";"))]
        return self.row(self.tables.stack_table, self.encoder.Stack(location_indices=places))

    def location(self, names):
        lines = []
        for name in reversed(names):
            function = self.row(self.tables.function_table, self.encoder.Function(name_strindex=self.string(name)))
            lines.append(self.encoder.Line(function_index=function, line=len(name)))
        return self.row(self.tables.location_table, self.encoder.Location(lines=lines))


def request(encoder, service):
    dictionary = Dictionary(encoder)
    Profile, Sample = encoder.Profile, encoder.Sample
    stack, value_type = dictionary.stack, dictionary.value_type
    thread = [dictionary.attribute("thread.name", string_value="main"), dictionary.attribute("thread.id", int_value=7)]
    link = dictionary.link(bytes(range(16)), bytes(range(8)))
    window = {"time_unix_nano": NOW, "duration_nano": 10**10}
    profiles = [
        Profile(  # times alone: each is one sample
            sample_type=value_type("samples", "count"), period_type=value_type("cpu", "nanoseconds"), period=50_000_000,
            samples=[
                Sample(stack_index=stack("main;flame_work+flame_work_hot"), attribute_indices=thread,
                       timestamps_unix_nano=[NOW, NOW + 1, NOW + 2]),
                Sample(stack_index=stack("main;flame_work_cold"), link_index=link, timestamps_unix_nano=[NOW + 3]),
            ],
            **window,
        ),
        Profile(  # a value for each time
            sample_type=value_type("off_cpu", "nanoseconds"),
            samples=[Sample(stack_index=stack("main;flame_wait"), values=[5, 7], timestamps_unix_nano=[NOW, NOW + 9])],
            **window,
        ),
        Profile(  # values alone
            sample_type=value_type("alloc_space", "bytes"), period_type=value_type("space", "bytes"), period=524288,
            samples=[
                Sample(stack_index=stack("main;flame_work_allocate"), values=[4096], attribute_indices=thread[:1]),
                Sample(stack_index=stack("main;Größe"), values=[2**40]),
            ],
            **window,
        ),
    ]
    attributes = [
        encoder.KeyValue(key=key, value=encoder.AnyValue(string_value=value))
        for key, value in {"service.name": service, "region": "eu"}.items()
    ]
    resource = encoder.ResourceProfiles(
        resource=encoder.Resource(attributes=attributes), scope_profiles=[encoder.ScopeProfiles(profiles=profiles)]
    )
    return encoder.ExportProfilesServiceRequest(resource_profiles=[resource], dictionary=dictionary.tables)


def post(body, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    with urllib.request.urlopen(urllib.request.Request(SERVER + PATH, body, headers), timeout=30) as answer:
        return answer.read()


def main(service):
    with grpc.insecure_channel(SERVER.removeprefix("http://")) as channel:
        answer = ProfilesServiceStub(channel).Export(request(PROTOBUF, service + "-grpc"), timeout=30)
    assert not answer.HasField("partial_success"), answer
    body = gzip.compress(request(PROTOBUF, service + "-protobuf").SerializeToString())
    answer = post(body, content_type="application/x-protobuf", content_encoding="gzip")
    assert answer == b"", answer
    body = request(JSON, service + "-json").to_json().encode()
    answer = post(body, content_type="application/json")
    assert answer == b"{}", answer


if __name__ == "__main__":
    main(sys.argv[1])
