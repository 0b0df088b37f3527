using System.Runtime.CompilerServices;
using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>The operations of protocol B that reproduction needs. Names and shapes are W&amp;B's.</summary>
internal sealed class WandbApi(GraphQLTransport transport, ILaunchProtocol? protocol = null)
{
    private const string RunFragment = """
        id tags name displayName sweepName state config group jobType commit readOnly createdAt heartbeatAt
        description notes systemMetrics summaryMetrics historyLineCount user { name username } historyKeys
        """;

    private ILaunchProtocol? _protocol = protocol;

    internal Task<Viewer?> ViewerAsync(CancellationToken token) => ViewerOperations.GetAsync(transport, token);

    internal async Task<RunInfo> RunInfoAsync(RunPath run, CancellationToken token)
    {
        const string Query = """
            query RunInfo($project: String!, $entity: String!, $name: String!) {
              project(name: $project, entityName: $entity) { run(name: $name) {
                runInfo { program args os python colab executable codeSaved cpuCount gpuCount gpu git { remote commit } } } } }
            """;
        var data = await transport.QueryAsync(
            "RunInfo",
            Query,
            new
            {
                project = run.Project,
                entity = run.Entity,
                name = run.Id,
            },
            token
        );
        var project = data.At("project") ?? throw ProjectMissing(run.Entity, run.Project);
        var node = project.At("run") ?? throw RunMissing(run);
        var info =
            node.At("runInfo")
            ?? throw new LaunchException(
                "RunInfoMissing",
                LaunchErrorCategory.InvalidData,
                $"The run {run} has no record of how it was started, so it cannot be made again. It may still be starting, or was made without the SDK's metadata (WANDB_DISABLE_META). Launch its code instead: the git URL or folder, with -Argument.",
                run.ToString()
            );
        return new RunInfo(
            info.Text("program"),
            info.Items("args").Select(a => a.ToString()).ToArray(),
            info.Text("python"),
            info.Text("executable"),
            info.Flag("codeSaved") ?? false,
            info.At("gpuCount") is { ValueKind: JsonValueKind.Number } gpus ? gpus.GetInt32() : 0,
            info.Text("git", "remote"),
            info.Text("git", "commit")
        );
    }

    internal async Task<WandbRun> RunAsync(RunPath run, string appUrl, CancellationToken token)
    {
        var query = $$"""
            query Run($project: String!, $entity: String!, $name: String!) {
              project(name: $project, entityName: $entity) { run(name: $name) { {{RunFragment}} } }
            }
            """;
        var data = await transport.QueryAsync(
            "Run",
            query,
            new
            {
                project = run.Project,
                entity = run.Entity,
                name = run.Id,
            },
            token
        );
        var project = data.At("project") ?? throw ProjectMissing(run.Entity, run.Project);
        return new WandbRun(project.At("run") ?? throw RunMissing(run), run.Entity, run.Project, appUrl);
    }

    /// <summary>Streams the runs of a project, page after page, newest first.</summary>
    internal async IAsyncEnumerable<WandbRun> RunsAsync(
        string entity,
        string project,
        string? filters,
        string? order,
        int pageSize,
        string appUrl,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var query = $$"""
            query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String, $filters: JSONString) {
              project(name: $project, entityName: $entity) {
                runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
                  edges { node { {{RunFragment}} } cursor } pageInfo { endCursor hasNextPage } } } }
            """;
        string? cursor = null;
        Task<JsonElement>? next = PageAsync(null);
        while (next is not null)
        {
            var data = await next;
            var runs =
                (data.At("project") ?? throw ProjectMissing(entity, project)).At("runs")
                ?? throw new LaunchException(
                    "ServerAnswerInvalid",
                    LaunchErrorCategory.ProtocolError,
                    "The server listed no runs object for the project.",
                    project
                );
            var more = runs.Flag("pageInfo", "hasNextPage") ?? false;
            var end = runs.Text("pageInfo", "endCursor");

            // The next page is on its way while this one goes down the pipeline.
            next = more && end is not null && end != cursor ? PageAsync(end) : null;
            cursor = end;
            foreach (var edge in runs.Items("edges"))
            {
                if (edge.At("node") is { } node)
                {
                    // A copy of its own, so that one kept run does not hold its whole page in memory.
                    yield return new WandbRun(node.Clone(), entity, project, appUrl);
                }
            }
        }

        Task<JsonElement> PageAsync(string? after) =>
            transport.QueryAsync(
                "Runs",
                query,
                new
                {
                    project,
                    entity,
                    cursor = after,
                    perPage = pageSize,
                    order,
                    filters,
                },
                token
            );
    }

    internal async Task<IReadOnlyList<string>> ProjectsAsync(string entity, CancellationToken token)
    {
        const string Query = """
            query Projects($entity: String, $cursor: String, $perPage: Int = 200) {
              models(entityName: $entity, after: $cursor, first: $perPage) {
                edges { node { id name entityName createdAt } cursor }
                pageInfo { endCursor hasNextPage }
              }
            }
            """;
        var names = new List<string>();
        string? cursor = null;
        while (true)
        {
            var data = await transport.QueryAsync("Projects", Query, new { entity, cursor }, token);
            names.AddRange(data.Items("models", "edges").Select(e => e.Text("node", "name")).OfType<string>());
            if (
                data.Flag("models", "pageInfo", "hasNextPage") != true
                || data.Text("models", "pageInfo", "endCursor") is not { } end
            )
            {
                return names;
            }

            cursor = end;
        }
    }

    /// <summary>The files of a run; entries without <c>updatedAt</c> do not exist (protocol K 11).</summary>
    internal async Task<IReadOnlyList<WandbRunFile>> FilesAsync(
        RunPath run,
        IReadOnlyList<string>? names,
        CancellationToken token
    )
    {
        const string Head =
            "query RunFiles($name: String!, $entity: String, $run: String!, $cursor: String, $fileNames: [String!]) { model(name: $name, entityName: $entity) { bucket(name: $run) { ";
        const string All =
            "files(after: $cursor, first: 200) { edges { node { name url(upload: false) sizeBytes md5 updatedAt } cursor } pageInfo { endCursor hasNextPage } } } } }";
        const string Named =
            "files(names: $fileNames) { edges { node { name url(upload: false) md5 updatedAt } } } } } }";
        var query = names is null
            ? Head.Replace(", $fileNames: [String!]", "", StringComparison.Ordinal) + All
            : Head.Replace(", $cursor: String", "", StringComparison.Ordinal) + Named;
        var files = new List<WandbRunFile>();
        string? cursor = null;
        while (true)
        {
            object variables = names is null
                ? new
                {
                    name = run.Project,
                    entity = run.Entity,
                    run = run.Id,
                    cursor,
                }
                : new
                {
                    name = run.Project,
                    entity = run.Entity,
                    run = run.Id,
                    fileNames = names,
                };
            var data = await transport.QueryAsync("RunFiles", query, variables, token);
            var bucket =
                (data.At("model") ?? throw ProjectMissing(run.Entity, run.Project)).At("bucket")
                ?? throw RunMissing(run);
            foreach (var edge in bucket.Items("files", "edges"))
            {
                if (
                    edge.At("node") is { } node
                    && node.Text("updatedAt") is not null
                    && node.Text("name") is { } name
                    && node.Text("url") is { } url
                )
                {
                    var size =
                        node.At("sizeBytes") is { } bytes && long.TryParse(bytes.ToString(), out var number)
                            ? number
                            : (long?)null;
                    files.Add(
                        new WandbRunFile(
                            name,
                            size,
                            node.Text("md5"),
                            node.Time("updatedAt"),
                            run.Entity,
                            run.Project,
                            run.Id
                        )
                        {
                            Url = url,
                        }
                    );
                }
            }

            if (
                names is not null
                || bucket.Flag("files", "pageInfo", "hasNextPage") != true
                || bucket.Text("files", "pageInfo", "endCursor") is not { } end
            )
            {
                return files;
            }

            cursor = end;
        }
    }

    /// <summary>The alerts of a run.</summary>
    internal Task<IReadOnlyList<WandbRunAlert>> AlertsAsync(RunPath run, CancellationToken token) =>
        new RunAlerts(transport).ListAsync(run, token);

    /// <summary>One file as bytes, or null when the run has no such file.</summary>
    internal async Task<byte[]?> ReadFileAsync(RunPath run, string name, long limit, CancellationToken token)
    {
        var file = (await FilesAsync(run, [name], token)).FirstOrDefault(f => f.Name == name);
        if (file is null)
        {
            return null;
        }

        HttpResponseMessage response;
        try
        {
            response = await transport.Files.DownloadAsync(file.Url, token);
        }
        catch (LaunchException e) when (e.StatusCode == 404)
        {
            throw new LaunchException(
                "RunFileDeleted",
                LaunchErrorCategory.ObjectNotFound,
                $"The file {name} of the run {run} is listed but its content is gone. Was it deleted? Upload it again where it came from.",
                run.ToString(),
                e
            );
        }

        using (response)
        {
            return await AnswerBody.ReadAsync(response, name, limit, token);
        }
    }

    /// <summary>Saves a file below a folder; the name is checked, and a digest that does not fit is an error.</summary>
    internal async Task<string> SaveFileAsync(WandbRunFile file, string folder, CancellationToken token)
    {
        var target = SafePath.Combine(folder, file.Name, "run file");
        Directory.CreateDirectory(Path.GetDirectoryName(target)!);
        try
        {
            await transport.Files.DownloadToAsync(file.Url, file.Name, target, file.Md5, file.Size, token);
            return target;
        }
        catch (LaunchException e) when (e.StatusCode == 404)
        {
            throw new LaunchException(
                "RunFileDeleted",
                LaunchErrorCategory.ObjectNotFound,
                $"The file {file.Name} of the run {file.RunId} is listed but its content is gone. Was it deleted? Upload it again where it came from.",
                file.Name,
                e
            );
        }
    }

    internal async Task UpsertProjectAsync(string entity, string project, CancellationToken token) =>
        await transport.QueryAsync(
            "UpsertModel",
            """
            mutation UpsertModel($name: String!, $entity: String!) {
              upsertModel(input: {name: $name, entityName: $entity}) { model { name description } }
            }
            """,
            new { name = project, entity },
            token
        );

    internal Task<string> UpsertRunAsync(RunUpsert run, CancellationToken token) => run.SendAsync(transport, token);

    /// <summary>Uploads files of a run, by the way that the server offers (protocol B.6).</summary>
    internal async Task UploadFilesAsync(
        RunPath run,
        IReadOnlyList<(string Name, Func<Stream> Open)> files,
        CancellationToken token
    )
    {
        var byName = files.ToDictionary(f => f.Name, f => f.Open, StringComparer.Ordinal);
        var names = byName.Keys.ToArray();
        var uploads = await (await ProtocolAsync(token)).CreateRunFilesAsync(run, names, token);
        foreach (var (name, url) in uploads.Targets)
        {
            await transport.Files.UploadAsync(url, byName[name], uploads.Headers, token);
        }
    }

    /// <summary>Appends lines to the files of a run's stream, as a running SDK does (protocol B.6).</summary>
    internal Task FileStreamAsync(
        RunPath run,
        string file,
        int offset,
        IReadOnlyList<string> lines,
        CancellationToken token
    ) =>
        transport.PostAsync(
            StreamPath(run),
            new { files = new Dictionary<string, object> { [file] = new { offset, content = lines } } },
            token
        );

    internal Task CompleteAsync(RunPath run, int exitCode, CancellationToken token) =>
        transport.PostAsync(StreamPath(run), new { complete = true, exitcode = exitCode }, token);

    internal async Task<string?> RunStateAsync(RunPath run, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "RunState",
            """
            query RunState($project: String!, $entity: String!, $name: String!) {
              project(name: $project, entityName: $entity) { run(name: $name) { state } }
            }
            """,
            new
            {
                project = run.Project,
                entity = run.Entity,
                name = run.Id,
            },
            token
        );
        return data.Text("project", "run", "state");
    }

    /// <summary>The protocol that the server speaks: found at its first use, so that a command that needs none of it does not ask.</summary>
    internal async Task<ILaunchProtocol> ProtocolAsync(CancellationToken token)
    {
        if (Volatile.Read(ref _protocol) is { } known)
        {
            return known;
        }

        var found = await LaunchProtocol.ConnectAsync(transport, token);
        return Interlocked.CompareExchange(ref _protocol, found, null) ?? found;
    }

    /// <summary>True when a stop of the run was asked for in W&amp;B (protocol B.5).</summary>
    internal async Task<bool> RunStoppedAsync(RunPath run, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "RunStoppedStatus",
            """
            query RunStoppedStatus($projectName: String, $entityName: String, $runId: String!) {
              project(name: $projectName, entityName: $entityName) { run(name: $runId) { stopped } }
            }
            """,
            new
            {
                projectName = run.Project,
                entityName = run.Entity,
                runId = run.Id,
            },
            token
        );
        return data.Flag("project", "run", "stopped") ?? false;
    }

    private static string StreamPath(RunPath run) =>
        $"/files/{Uri.EscapeDataString(run.Entity)}/{Uri.EscapeDataString(run.Project)}/{Uri.EscapeDataString(run.Id)}/file_stream";

    internal static LaunchException ProjectMissing(string entity, string project) =>
        new(
            "ProjectNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"There is no project {entity}/{project}, or this key may not see it. Check both names, and who is logged in with Get-WandbConnection.",
            $"{entity}/{project}"
        );

    internal static LaunchException RunMissing(RunPath run) =>
        new(
            "RunNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"There is no run {run}, or this key may not see it. Check the id, and who is logged in with Get-WandbConnection.",
            run.ToString()
        );
}
