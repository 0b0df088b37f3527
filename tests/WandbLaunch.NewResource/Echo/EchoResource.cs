using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>
/// Pretends to run: prints its arguments, ends after a moment with the exit code that was asked for, and remembers both in a
/// folder, whoever asks. What somebody writes who adds a resource.
/// </summary>
internal sealed class EchoResource(LaunchContext context) : ILaunchResource
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    private string Root => Path.Combine(context.DataFolder, "echo");

    public ResourceInfo Info { get; } =
        new()
        {
            Name = "echo",
            Aliases = ["parrot"],
            Tip = "says it again",
            EngineRemembers = true,
            Queues = true,
            Risk = "an echo is heard by everybody",
        };

    public void Validate(LaunchConfig config, LaunchOptions options) => _ = Asked(config);

    public (LaunchConfig Config, LaunchOptions Options) ApplyPolicy(
        LaunchConfig config,
        LaunchOptions options,
        AgentPolicy policy,
        ItemContext item
    ) => policy.SecureMode ? throw AgentPolicy.Refused("echoes are not secure", "-SecureMode") : (config, options);

    public Task<ResourcePlan> PlanAsync(ResourceRequest request, CancellationToken token) =>
        Task.FromResult(new ResourcePlan([.. request.Resolved.EntryPoint, .. request.Resolved.Arguments], null, true));

    public Task<RunSpec> PrepareAsync(PrepareContext prepare, CancellationToken token) =>
        Task.FromResult(
            prepare.NewSpec(prepare.Resolved.EntryPoint, prepare.Folder) with
            {
                Resource = Info.Name,
                Data = RunSpec.DataOf(Asked(prepare.Config)),
            }
        );

    public Task<RunHandle> StartAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        var echo = spec.DataAs<Echo>();
        if (Read(spec.Id) is null)
        {
            Write(
                spec.Id,
                echo with
                {
                    Begins = context.Time.GetUtcNow().AddSeconds(echo.Breath),
                    Ends = context.Time.GetUtcNow().AddSeconds(echo.Breath + echo.Seconds),
                    Text = string.Concat(spec.Arguments.Select(a => a + "\n")),
                }
            );
        }

        return Task.FromResult(new RunHandle("echo", spec.Id));
    }

    public Task<RunHandle?> FindAsync(RunSpec spec, CancellationToken token) =>
        Task.FromResult(Read(spec.Id) is null ? null : new RunHandle("echo", spec.Id));

    public Task<IReadOnlyDictionary<string, RunStanding>> LookAsync(
        IReadOnlyCollection<LaunchedRun> runs,
        CancellationToken token
    ) => Task.FromResult<IReadOnlyDictionary<string, RunStanding>>(runs.ToDictionary(r => r.Id, r => StandingOf(r.Id)));

    public async IAsyncEnumerable<RunChange> WatchAsync(
        WatchedRuns runs,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var told = new Dictionary<string, RunStanding>(StringComparer.Ordinal);
        while (true)
        {
            foreach (var run in runs.All.Where(r => told.GetValueOrDefault(r.Id)?.End is null))
            {
                var standing = StandingOf(run.Id);
                if (told.GetValueOrDefault(run.Id) != standing)
                {
                    yield return new RunChange(run.Id, told[run.Id] = standing);
                }
            }

            await Task.Delay(Pause, context.Time, token);
        }
    }

    public async Task ReadLogAsync(LaunchedRun run, string? from, bool follow, IRunLogSink to, CancellationToken token)
    {
        var text = Encoding.UTF8.GetBytes(Read(run.Id)?.Text ?? "");
        to.Output(RunStream.Output, text.AsSpan(from is null ? 0 : int.Parse(from, CultureInfo.InvariantCulture)));
        to.Reached(text.Length);
        while (follow && EndOf(run.Id) is null)
        {
            await Task.Delay(Pause, context.Time, token);
        }
    }

    public Task StopAsync(LaunchedRun run, TimeSpan grace, CancellationToken token)
    {
        if (Read(run.Id) is { } echo && EndOf(run.Id) is null)
        {
            Write(run.Id, echo with { Ends = context.Time.GetUtcNow(), ExitCode = 143 });
        }

        return Task.CompletedTask;
    }

    public Task ForgetAsync(LaunchedRun run, CancellationToken token)
    {
        File.Delete(PathOf(run.Id));
        return Task.CompletedTask;
    }

    private static Echo Asked(LaunchConfig config) =>
        config.ResourceArgs?["echo"] is not { } own ? new Echo()
        : own is JsonObject map
        && map.All(p =>
            p.Key is "seconds" or "exit_code" or "breath" && p.Value?.GetValueKind() == JsonValueKind.Number
        )
            ? new Echo
            {
                Seconds = Number(map["seconds"]) ?? 0.2,
                ExitCode = (int)(Number(map["exit_code"]) ?? 0),
                Breath = Number(map["breath"]) ?? 0,
            }
        : throw new LaunchException(
            "EchoArgumentInvalid",
            LaunchErrorCategory.InvalidArgument,
            "An echo takes the numbers 'seconds', 'exit_code' and 'breath'.",
            own.ToJsonString()
        );

    private static double? Number(JsonNode? node) =>
        node is null ? null : double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture);

    private RunOutcome? EndOf(string id) =>
        Read(id) is not { } echo ? new RunOutcome(null, "nobody remembers it")
        : echo.Ends <= context.Time.GetUtcNow() ? new RunOutcome(echo.ExitCode)
        : null;

    private RunStanding StandingOf(string id) =>
        EndOf(id) is { } end ? RunStanding.Ended(end)
        : Read(id)?.Begins > context.Time.GetUtcNow() ? RunStanding.WaitsFor("it takes a breath")
        : RunStanding.Runs;

    private string PathOf(string id) => Path.Combine(Root, id + ".json");

    private Echo? Read(string id) =>
        File.Exists(PathOf(id)) ? JsonSerializer.Deserialize<Echo>(File.ReadAllText(PathOf(id))) : null;

    private void Write(string id, Echo echo) => FileModes.WritePrivate(PathOf(id), JsonSerializer.Serialize(echo));

    private sealed record Echo
    {
        /// <summary>How long it waits before it begins.</summary>
        public double Breath { get; init; }
        public double Seconds { get; init; } = 0.2;
        public DateTimeOffset Begins { get; init; }
        public int ExitCode { get; init; }
        public DateTimeOffset Ends { get; init; }
        public string Text { get; init; } = "";
    }
}
