using System.Text.Json;
using GraphQL;
using GraphQL.Resolvers;
using GraphQL.Types;
using GraphQLParser.AST;

namespace WandbLaunch.Server;

/// <summary>schema.graphql with its resolvers.</summary>
internal static class WandbSchema
{
    internal const string Username = "local";

    private const string QueueProject = "model-registry";

    /// <summary>Makes the schema; of the 2022 generation it lacks what came later, so that clients are tried against both.</summary>
    internal static ISchema Create(Store store, bool generation2022 = false)
    {
        using var reader = new StreamReader(typeof(WandbSchema).Assembly.GetManifestResourceStream("schema.graphql")!);
        var text = reader.ReadToEnd();
        if (generation2022)
        {
            text = string.Join(
                '\n',
                text.Split('\n')
                    .Where(l =>
                        !l.EndsWith("# today", StringComparison.Ordinal)
                        && !l.EndsWith("# own", StringComparison.Ordinal)
                    )
            );
        }

        var schema = Schema.For(text);
        schema.RegisterType(new JsonScalar());
        schema.RegisterType(new TextScalar("JSONString"));
        schema.RegisterType(new TextScalar("DateTime"));
        schema.RegisterType(new LongScalar());
        schema.Initialize();
        foreach (
            var type in schema
                .AllTypes.OfType<IObjectGraphType>()
                .Where(t => !t.Name.StartsWith("__", StringComparison.Ordinal))
        )
        {
            foreach (var field in type.Fields)
            {
                // A plain field is the row's value of that name.
                var name = field.Name;
                field.Resolver = new FuncFieldResolver<object?>(c => ((Row)c.Source!).GetValueOrDefault(name));
            }
        }

        var asking = new HashSet<(string, string)>();
        void Set(string type, string field, Func<IResolveFieldContext, object?> resolve)
        {
            if (((IObjectGraphType)schema.AllTypes[type]!).Fields.Find(field) is { } found)
            {
                found.Resolver = new FuncFieldResolver<object?>(
                    type == "Mutation" ? c => Checked(c, field, resolve) : resolve
                );
                asking.Add((type, field));
            }
        }

        Set(
            "Query",
            "viewer",
            _ => new Row
            {
                ["id"] = "user:" + Username,
                ["name"] = Username,
                ["username"] = Username,
                ["email"] = "",
                ["entity"] = Username,
                ["flags"] = "{\"code_saving_enabled\": true}",
                ["teams"] = new Row { ["edges"] = Array.Empty<Row>() },
            }
        );
        Set(
            "Query",
            "serverInfo",
            _ => new Row
            {
                ["cliVersionInfo"] = "{\"max_cli_version\": \"99.0.0\"}",
                ["latestLocalVersionInfo"] = new Row
                {
                    ["outOfDate"] = false,
                    ["latestVersionString"] = "0.0.0",
                    ["versionOnThisInstanceString"] = "0.0.0",
                },
                ["features"] = new[]
                {
                    Feature("wandblaunch_queue_wait"),
                    Feature("wandblaunch_queue_push"),
                    Feature("wandblaunch_store_" + store.Identity),
                },
            }
        );
        Set(
            "Query",
            "entity",
            c =>
                c.GetArgument<string?>("name") is { } name
                    ? new Row
                    {
                        ["id"] = "entity:" + name,
                        ["name"] = name,
                        ["isTeam"] = false,
                    }
                    : null
        );
        foreach (var name in new[] { "project", "model" })
        {
            // The home of queues is always there (protocol B.2).
            Set(
                "Query",
                name,
                c =>
                    (c.GetArgument<string?>("entityName") ?? Username, c.GetArgument<string?>("name"))
                        is var (entity, project)
                    && project == QueueProject
                        ? store.UpsertProject(entity, QueueProject, null).Project
                        : store.Project(entity, project)
            );
        }

        foreach (var name in new[] { "projects", "models" })
        {
            Set(
                "Query",
                name,
                c =>
                {
                    var first = Math.Clamp(c.GetArgument("first", 50), 1, 1000);
                    var rows = store.Projects(
                        c.GetArgument<string?>("entityName"),
                        long.TryParse(c.GetArgument<string?>("after"), out var after) ? after : 0,
                        first + 1
                    );
                    var more = rows.Count > first;
                    return Connection(
                        rows.Take(first),
                        r => r.Key.ToString(System.Globalization.CultureInfo.InvariantCulture),
                        more
                    );
                }
            );
        }

        foreach (var name in new[] { "run", "bucket" })
        {
            // The 2022 SDK asks a bucket that must not be there for upload URLs; it is made then.
            Set(
                "Project",
                name,
                c => c.GetArgument<string?>("name") is { } run ? store.Run((Row)c.Source!, run) : null
            );
        }

        foreach (var name in new[] { "runs", "buckets" })
        {
            Set(
                "Project",
                name,
                c =>
                {
                    var (rows, more) = store.Runs(
                        (Row)c.Source!,
                        c.GetArgument<string?>("filters"),
                        c.GetArgument<string?>("after"),
                        Math.Clamp(c.GetArgument("first", 50), 1, 1000),
                        c.GetArgument<string?>("order")
                    );
                    return Connection(rows, Store.Cursor, more);
                }
            );
        }

        Set("Project", "runCount", c => (int)store.CountRuns((Row)c.Source!, c.GetArgument<string?>("filters")));
        Set("Run", "runInfo", c => RunInfo(store, (Row)c.Source!));
        Set("Run", "historyLineCount", c => (int)store.CountLines(Key(c), "history"));
        Set("Run", "logLineCount", c => (int)store.CountLines(Key(c), "console"));
        Set("Run", "eventsLineCount", _ => 0);
        Set("Run", "eventsTail", _ => "[]");
        Set(
            "Run",
            "historyTail",
            c =>
                store.CountLines(Key(c), "history") is var count and > 0
                    ? JsonSerializer.Serialize(store.Lines(Key(c), "history", count - 1, count))
                    : "[]"
        );
        Set(
            "Run",
            "history",
            c => store.Lines(Key(c), "history", c.GetArgument("minStep", 0), c.GetArgument("maxStep", 10_000))
        );
        Set(
            "Run",
            "sampledHistory",
            c =>
                c.GetArgument<string[]>("specs")
                    .Select(s => (object)SampledHistory.Read(store, Key(c), s).ToJsonString())
                    .ToArray()
        );
        Set("Run", "wandbConfig", c => WandbConfig((Row)c.Source!));
        Set("Run", "fileCount", c => store.Files(Key(c), null, null, null, int.MaxValue - 1).Files.Count);
        Set(
            "Run",
            "files",
            c =>
            {
                var run = (Row)c.Source!;
                var names = c.GetArgument<string[]?>("names");
                var (rows, more) = store.Files(
                    run.Key,
                    names,
                    c.GetArgument<string?>("pattern"),
                    c.GetArgument<string?>("after"),
                    Math.Clamp(c.GetArgument("first", 1000), 1, 1000)
                );
                var there = rows.ToDictionary(r => (string)r["name"]!, StringComparer.Ordinal);

                // Asked by name, a file that does not exist is listed without updatedAt (protocol K 11).
                var listed = names is null
                    ? rows
                    : names.Select(n => there.GetValueOrDefault(n) ?? new Row { ["name"] = n }).ToList();
                foreach (var row in listed)
                {
                    row["run"] = run;
                    row["directUrl"] = FileUrl(c, run, (string)row["name"]!, "GET");
                }

                var connection = Connection(listed, r => (string)r["name"]!, more);
                connection["uploadHeaders"] = Endpoints.FileEndpoints.UploadHeaders;
                return connection;
            }
        );

        // Asked for an upload, the address is signed for one.
        Set(
            "File",
            "url",
            c =>
                ((Row)c.Source!).GetValueOrDefault("directUrl") is string && c.GetArgument("upload", false)
                    ? FileUrl(c, (Row)((Row)c.Source!)["run"]!, (string)((Row)c.Source!)["name"]!, "PUT")
                    : ((Row)c.Source!).GetValueOrDefault("directUrl")
        );

        Set(
            "Mutation",
            "upsertModel",
            c =>
            {
                var input = Input(c);
                var (project, inserted) = store.UpsertProject(
                    Text(input, "entityName") ?? Username,
                    Text(input, "name")!,
                    Text(input, "description")
                );
                return new Row
                {
                    ["model"] = project,
                    ["project"] = project,
                    ["inserted"] = inserted,
                };
            }
        );
        Set(
            "Mutation",
            "upsertBucket",
            c =>
            {
                var input = Input(c);
                var known = Text(input, "id") is { } id ? store.RunByStorageId(id) : null;
                var project =
                    (Row?)known?["project"]
                    ?? store
                        .UpsertProject(
                            Text(input, "entityName") ?? Username,
                            Text(input, "modelName") ?? "uncategorized",
                            null
                        )
                        .Project;
                CheckDocument(input, "config");
                CheckDocument(input, "summaryMetrics");
                var (run, inserted) = store.UpsertRun(
                    project,
                    (string?)known?["name"] ?? Text(input, "name") ?? Text(input, "id") ?? NewRunId(),
                    input,
                    Username
                );
                return new Row { ["bucket"] = run, ["inserted"] = inserted };
            }
        );
        Set(
            "Mutation",
            "createRunFiles",
            c =>
            {
                var input = Input(c);
                var run = store.Project(Text(input, "entityName"), Text(input, "projectName")) is { } project
                    ? store.Run(project, Text(input, "runName")!)
                    : null;
                return run is null
                    ? throw new ServerFault("There is no such run.")
                    : new Row
                    {
                        ["runID"] = run["id"],
                        ["uploadHeaders"] = Endpoints.FileEndpoints.UploadHeaders,
                        ["files"] = ((IEnumerable<object?>)input["files"]!)
                            .Select(f => new Row
                            {
                                ["name"] = f!.ToString(),
                                ["uploadUrl"] = FileUrl(c, run, f.ToString()!, "PUT"),
                            })
                            .ToArray(),
                    };
            }
        );
        Set("Mutation", "stopRun", c => WithRun(c, run => store.SetRun(run.Key, "stopped", 1L)));
        Set(
            "Mutation",
            "updateRunState",
            c =>
                WithRun(
                    c,
                    run =>
                    {
                        var (from, to) = ((string)run["state"]!, Text(Input(c), "state")!);
                        if (
                            !(
                                to == "pending"
                                    ? from is "running" or "failed" or "crashed" or "preempted"
                                    : to == "failed" && from is "pending" or "running"
                            )
                        )
                        {
                            throw new ServerFault($"A run cannot go from {from} to {to}.");
                        }

                        store.SetRun(run.Key, "state", to);
                    }
                )
        );
        Set("Mutation", "deleteRun", c => WithRun(c, run => store.DeleteRun(run.Key)));
        Set(
            "Mutation",
            "deleteFiles",
            c =>
            {
                foreach (var id in ((IEnumerable<object?>)Input(c)["files"]!).Select(f => f!.ToString()!))
                {
                    if (id.Split('/', 2) is not [var run, var file])
                    {
                        throw new ServerFault($"\"{JsonLimits.Short(id)}\" is no id of a file.");
                    }

                    store.DeleteFile(Store.Id(run), file);
                }

                return new Row { ["success"] = true };
            }
        );
        QueueSchema.Add(store, Set);
        ArtifactSchema.Add(store, Set);
        GraphQLLimits.Count(schema, (type, field) => asking.Contains((type, field)));
        return schema;

        // Every name in a mutation is looked at in one place, before anything is made of it.
        static object? Checked(IResolveFieldContext c, string field, Func<IResolveFieldContext, object?> resolve)
        {
            Names.CheckInput(field, Input(c));
            return resolve(c);
        }

        static Row Feature(string name) => new() { ["name"] = name, ["isEnabled"] = true };

        static long Key(IResolveFieldContext c) => ((Row)c.Source!).Key;

        object WithRun(IResolveFieldContext c, Action<Row> act)
        {
            var input = Input(c);
            act(store.RunByStorageId(Text(input, "id")!) ?? throw new ServerFault("There is no such run."));
            return new Row { ["success"] = true, ["clientMutationId"] = Text(input, "clientMutationId") };
        }
    }

    internal static string? Text(IDictionary<string, object?> input, string name) =>
        input.TryGetValue(name, out var value) ? value?.ToString() : null;

    internal static Dictionary<string, object?> Input(IResolveFieldContext c) =>
        new(c.GetArgument<IDictionary<string, object?>>("input"));

    internal static string NewRunId() =>
        System.Security.Cryptography.RandomNumberGenerator.GetString("abcdefghijklmnopqrstuvwxyz0123456789", 8);

    private static void CheckDocument(Dictionary<string, object?> input, string name)
    {
        if (input.GetValueOrDefault(name) is string text)
        {
            input[name] = RunDocuments.Strict(text) ?? throw new ServerFault($"{name} must be a JSON object.");
        }
    }

    internal static Row Connection(IEnumerable<Row> rows, Func<Row, string> cursor, bool more)
    {
        var edges = rows.Select(r => new Row { ["node"] = r, ["cursor"] = cursor(r) }).ToArray();
        return new Row
        {
            ["edges"] = edges,
            ["pageInfo"] = new Row
            {
                ["hasNextPage"] = more,
                ["endCursor"] = edges.Length > 0 ? edges[^1]["cursor"] : null,
            },
        };
    }

    // The SDK sends no key to the addresses that it is given for files: they carry a signature of their own (as W&B's do), for one method, path and day.
    private static string FileUrl(IResolveFieldContext c, Row run, string name, string method)
    {
        var project = (Row)run["project"]!;
        var path =
            "/files/"
            + string.Join(
                '/',
                new[] { (string)project["entityName"]!, (string)project["name"]!, (string)run["name"]! }
                    .Concat(name.Split('/'))
                    .Select(Uri.EscapeDataString)
            );
        return SignedUrl(c, method, path);
    }

    internal static string SignedUrl(IResolveFieldContext c, string method, string path) =>
        (string)c.UserContext["base"]!
        + path
        + "?"
        + ((UrlSigner)c.UserContext["signer"]!).Sign(method, path, DateTimeOffset.UtcNow.AddDays(1));

    private static string WandbConfig(Row run)
    {
        try
        {
            using var document = JsonDocument.Parse((string)run["config"]!);
            return
                document.RootElement is { ValueKind: JsonValueKind.Object } root
                && root.TryGetProperty("_wandb", out var own)
                && own.ValueKind == JsonValueKind.Object
                && own.TryGetProperty("value", out var value)
                ? value.GetRawText()
                : "{}";
        }
        catch (JsonException)
        {
            return "{}";
        }
    }

    // What the SDK uploads as wandb-metadata.json is what W&B makes runInfo of.
    private static Row? RunInfo(Store store, Row run)
    {
        if (store.ReadFile(run.Key, "wandb-metadata.json") is not { } bytes)
        {
            return null;
        }

        try
        {
            using var document = JsonDocument.Parse(bytes);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
            {
                return null;
            }

            string? Text(string name) =>
                root.TryGetProperty(name, out var v) && v.ValueKind == JsonValueKind.String ? v.GetString() : null;
            int? Number(string name) =>
                root.TryGetProperty(name, out var v)
                && v.ValueKind == JsonValueKind.Number
                && v.TryGetInt32(out var number)
                    ? number
                    : null;
            Row? git = null;
            if (root.TryGetProperty("git", out var g) && g.ValueKind == JsonValueKind.Object)
            {
                git = new Row
                {
                    ["remote"] = g.TryGetProperty("remote", out var remote) ? remote.ToString() : null,
                    ["commit"] = g.TryGetProperty("commit", out var commit) ? commit.ToString() : null,
                };
            }

            return new Row
            {
                ["program"] = Text("program"),
                ["os"] = Text("os"),
                ["python"] = Text("python"),
                ["executable"] = Text("executable"),
                ["gpu"] = Text("gpu"),
                ["codeSaved"] = Text("codePath") is not null,
                ["cpuCount"] = Number("cpu_count"),
                ["gpuCount"] = Number("gpu_count") ?? 0,
                ["git"] = git,
                ["args"] =
                    root.TryGetProperty("args", out var args) && args.ValueKind == JsonValueKind.Array
                        ? args.EnumerateArray().Select(a => a.ToString()).ToArray()
                        : [],
            };
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // What was uploaded is anyone's.
            return null;
        }
    }

    /// <summary>A scalar that travels as a string.</summary>
    private sealed class TextScalar : ScalarGraphType
    {
        internal TextScalar(string name) => Name = name;

        public override object? ParseLiteral(GraphQLValue value) =>
            value switch
            {
                GraphQLStringValue text => text.Value.ToString(),
                GraphQLNullValue => null,
                _ => ThrowLiteralConversionError(value),
            };

        public override object? ParseValue(object? value) => value?.ToString();

        public override object? Serialize(object? value) => value?.ToString();
    }

    /// <summary>A JSON value as it is.</summary>
    private sealed class JsonScalar : ScalarGraphType
    {
        internal JsonScalar() => Name = "JSON";

        public override object? ParseLiteral(GraphQLValue value) => ThrowLiteralConversionError(value);

        public override object? ParseValue(object? value) => value;

        public override object? Serialize(object? value) => value;
    }

    private sealed class LongScalar : ScalarGraphType
    {
        internal LongScalar() => Name = "Int64";

        public override object? ParseLiteral(GraphQLValue value) =>
            value is GraphQLIntValue number
            && long.TryParse(number.Value, System.Globalization.CultureInfo.InvariantCulture, out var whole)
                ? whole
                : ThrowLiteralConversionError(value);

        public override object? ParseValue(object? value) =>
            value switch
            {
                null => null,
                long whole => whole,
                int whole => (long)whole,
                _ => ThrowValueConversionError(value),
            };

        public override object? Serialize(object? value) => value;
    }
}
