using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>One way to run. Listed once, in <see cref="ResourceCatalog"/>; nobody else asks which it is.</summary>
internal interface ILaunchResource
{
    /// <summary>What others may know of it.</summary>
    ResourceInfo Info { get; }

    /// <summary>The config with one name for each of the resource's arguments: a check that knows one way to write it and a use that takes another is a hole.</summary>
    /// <exception cref="LaunchException">An argument is given twice.</exception>
    LaunchConfig Canonical(LaunchConfig config) => config;

    /// <summary>The config as it may be kept and shown: without values of the resource's arguments that are secrets.</summary>
    LaunchConfig WithoutSecrets(LaunchConfig config) => config;

    /// <summary>Says what is wrong with a config before anything is fetched.</summary>
    void Validate(LaunchConfig config, LaunchOptions options);

    /// <summary>Checks what a queue's item asks of the resource, and gives the config and options that it may have.</summary>
    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    (LaunchConfig Config, LaunchOptions Options) ApplyPolicy(
        LaunchConfig config,
        LaunchOptions options,
        AgentPolicy policy,
        ItemContext item
    );

    /// <summary>The name of an argument that an agent's admin allows beyond the fixed list.</summary>
    /// <exception cref="LaunchException">There is no such argument.</exception>
    string CheckExtraArgument(string given) =>
        throw new LaunchException(
            "ResourceArgumentUnknown",
            LaunchErrorCategory.InvalidArgument,
            $"'{given}' cannot be allowed: the resource {Info.Name} has no arguments beyond its own.",
            given
        );

    /// <summary>Values for a parameter that is this resource's alone, for completion: of this machine, for Tab does not wait.</summary>
    /// <exception cref="LaunchException">They cannot be known now.</exception>
    IReadOnlyList<string> Complete(string parameter, LaunchOptions options) => [];

    /// <summary>How it would run. Looks, but makes nothing.</summary>
    Task<ResourcePlan> PlanAsync(ResourceRequest request, CancellationToken token);

    /// <summary>Makes what it runs in, and says how it runs.</summary>
    Task<RunSpec> PrepareAsync(PrepareContext context, CancellationToken token);

    /// <summary>Starts it, or finds what was started of this very spec before: its id is the name.</summary>
    Task<RunHandle> StartAsync(RunSpec spec, IReadOnlyDictionary<string, string> secrets, CancellationToken token);

    /// <summary>What was started of a spec by somebody who could not write it down.</summary>
    Task<RunHandle?> FindAsync(RunSpec spec, CancellationToken token);

    /// <summary>How runs stand, all asked for at once, by id. One that cannot be asked for now is left out.</summary>
    Task<IReadOnlyDictionary<string, RunStanding>> LookAsync(
        IReadOnlyCollection<LaunchedRun> runs,
        CancellationToken token
    );

    /// <summary>The ends of many runs as they come, each once, and where runs wait for their engine, what they wait for and that they run. Runs may be added and taken away meanwhile.</summary>
    IAsyncEnumerable<RunChange> WatchAsync(WatchedRuns runs, CancellationToken token);

    /// <summary>Hands over what a run printed. One that waits for its engine has printed nothing yet: to follow it begins with waiting.</summary>
    /// <param name="run">The run.</param>
    /// <param name="from">How far it was read before, as the sink was told; null: from its start.</param>
    /// <param name="follow">Until the run is over; else up to now.</param>
    /// <param name="to">Who gets it.</param>
    /// <param name="token">Ends the reading, never the run.</param>
    Task ReadLogAsync(LaunchedRun run, string? from, bool follow, IRunLogSink to, CancellationToken token);

    /// <summary>Ends it with all that it started: gracefully first. Its outcome comes by the watch.</summary>
    Task StopAsync(LaunchedRun run, TimeSpan grace, CancellationToken token);

    /// <summary>Takes away what is kept of a run that is over. Its end and its log are safe, or nobody wants them.</summary>
    Task ForgetAsync(LaunchedRun run, CancellationToken token) => Task.CompletedTask;
}

/// <summary>What others may know of a resource.</summary>
internal sealed record ResourceInfo
{
    /// <summary>The name that is written.</summary>
    internal required string Name { get; init; }

    /// <summary>Other names that it had or has at W&amp;B.</summary>
    internal IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>A line for completion and help.</summary>
    internal required string Tip { get; init; }

    /// <summary>Its key in resource_args.</summary>
    internal string ArgumentKey => Name;

    /// <summary>Key of the agent's policy under which its admin allows arguments beyond the fixed list; null: there are none.</summary>
    internal string? PolicyKey { get; init; }

    /// <summary>Keys of an agent's settings, and so of <see cref="LaunchOptions.Settings"/>, that are this resource's alone.</summary>
    internal IReadOnlyList<string> Settings { get; init; } = [];

    /// <summary>The engine knows how a run ended, whoever asks and whenever. Else each run needs a supervisor that stays.</summary>
    internal bool EngineRemembers { get; init; }

    /// <summary>Its engine takes a run before it has a place for it: a run that was started waits (<see cref="RunStanding.Waits"/>) until the watch says that it runs.</summary>
    internal bool Queues { get; init; }

    /// <summary>An agent takes its items unless told otherwise.</summary>
    internal bool AllowedByDefault { get; init; }

    /// <summary>What an admin should know before allowing it, as the end of a sentence.</summary>
    internal string? Risk { get; init; }
}

/// <summary>What a queue's item has from its agent.</summary>
/// <param name="Gpus">The GPUs that are the run's own; null: no choice.</param>
internal sealed record ItemContext(IReadOnlyList<string>? Gpus);

/// <summary>How a run ended.</summary>
/// <param name="ExitCode">The program's; null where it has none or nobody knows it.</param>
/// <param name="Reason">Why, where the exit code alone does not tell.</param>
/// <param name="OutOfMemory">Its memory limit was reached.</param>
internal sealed record RunOutcome(int? ExitCode, string? Reason = null, bool OutOfMemory = false)
{
    /// <summary>Somebody ended it by its engine's own tools.</summary>
    internal bool Stopped { get; init; }

    /// <summary>When it began and ended, where its engine knows: it may have run between two looks.</summary>
    internal (DateTimeOffset From, DateTimeOffset To)? Ran { get; init; }

    /// <summary>Id of the fault, where not the program was at fault: a node that failed, a place that was taken away.</summary>
    internal string? Fault { get; init; }
}

/// <summary>How a run stands.</summary>
internal sealed record RunStanding
{
    /// <summary>How it ended; null: it has not.</summary>
    internal RunOutcome? End { get; private init; }

    /// <summary>The engine has it and has not begun with it.</summary>
    internal bool Waits { get; private init; }

    /// <summary>Why it waits, in words for people.</summary>
    internal string? Reason { get; private init; }

    /// <summary>It will wait until somebody does something about the reason.</summary>
    internal bool IsStuck { get; private init; }

    /// <summary>How often its engine began with it anew.</summary>
    internal int Restarts { get; init; }

    /// <summary>It runs.</summary>
    internal static RunStanding Runs { get; } = new();

    /// <summary>It is over.</summary>
    internal static RunStanding Ended(RunOutcome end) => new() { End = end };

    /// <summary>It is over, or else runs.</summary>
    internal static RunStanding Of(RunOutcome? end) => end is null ? Runs : Ended(end);

    /// <summary>It waits for its engine.</summary>
    internal static RunStanding WaitsFor(string reason, bool stuck = false) =>
        new()
        {
            Waits = true,
            Reason = reason,
            IsStuck = stuck,
        };

    /// <summary>The run, as this says that it stands.</summary>
    internal LaunchedRun ApplyTo(LaunchedRun run, DateTimeOffset now) =>
        End is not null || run.IsDone ? run
        : Waits
            ? run with
            {
                State = run.State == LaunchState.Stopping ? run.State : LaunchState.Pending,
                Reason = run.State == LaunchState.Stopping ? run.Reason : Reason,
                IsStuck = IsStuck,
                Restarts = Restarts,
            }
        : run with
        {
            State = run.State == LaunchState.Stopping ? run.State : LaunchState.Running,
            Reason = run.State == LaunchState.Stopping ? run.Reason : null,
            IsStuck = false,
            Started = run.Started ?? now,
            Restarts = Restarts,
        };
}

/// <summary>A run of this id stands otherwise than before.</summary>
internal sealed record RunChange(string Id, RunStanding Standing);

/// <summary>The two ways out of a program.</summary>
internal enum RunStream
{
    /// <summary>Standard output.</summary>
    Output,

    /// <summary>Standard error.</summary>
    Error,
}

/// <summary>Who gets what a run printed.</summary>
internal interface IRunLogSink
{
    /// <summary>A piece; it may end within a character. Never throws: whoever reads a pipe goes on reading.</summary>
    void Output(RunStream stream, ReadOnlySpan<byte> bytes);

    /// <summary>All up to here was handed over: reading can go on from this place, by its text.</summary>
    void Reached(object position);
}
