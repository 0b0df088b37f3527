using System.Collections;
using System.Collections.Concurrent;
using System.Management.Automation;
using System.Net;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Resources;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Runs a W&amp;B run again, or a git repository or folder for the first time.</summary>
/// <remarks>A W&amp;B run becomes the same run again: the same commit, uncommitted changes (diff.patch), packages and arguments, or with those that you change. By default it runs in a container whose image is built once for each list of packages; with -Resource local-process as a process in a virtual environment of its own. The program's output is shown as it comes (-Quiet leaves that out), and kept in a log.
///
/// One LaunchedRun object is written for each run at its end, or at once with -NoWait, which leaves a container to its engine and a process, or whatever has a limit of time, to a supervisor of its own; Get-, Wait-, Stop-WandbLaunch and Receive-WandbLaunchLog work on it from any shell. A run that fails is an error with its last lines. Ctrl+C stops the run with everything that it started, and says how to launch it again. With -ThrottleLimit each run has a live line with its time and its last line of output instead. -AsJob runs in the background of this session. $LASTEXITCODE is 0 when all went well, the exit code of the last run that failed where it has one, else 1. -WhatIf shows what would run: commit, patch, program, arguments, image, command and environment, with secrets masked.
///
/// Whoever wrote the code that you launch runs it as you. A container keeps it from your files; a process does not.</remarks>
/// <example><para>Run a folder's train.py as a process</para><code>Start-WandbLaunch ./train -EntryPoint 'python train.py' -Resource local-process -Quiet</code><para>Needs a requirements.txt in the folder; it may be empty.</para></example>
/// <example><para>Reproduce a run with another learning rate</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo | Start-WandbLaunch -GitRepo ./repo -Argument @{ lr = 0.5 } -Resource local-process -NoInstall -Quiet</code><para>The other arguments stay as they were.</para></example>
/// <example><para>See what would happen</para><code>Start-WandbLaunch ./train -EntryPoint 'python train.py' -Resource local-process -WhatIf</code><para>Writes the plan and starts nothing.</para></example>
/// <example><para>Several at a time</para><code>1..3 | ForEach-Object { New-WandbLaunchConfig ./train -EntryPoint 'python train.py' -Argument "epochs=$_" } | Start-WandbLaunch -Resource local-process -ThrottleLimit 2</code><para>Each is a run of its own.</para></example>
/// <example><para>As a Job of the cluster that kubectl uses</para><code>Start-WandbLaunch https://github.com/me/train -Resource kubernetes -Repository registry.example.org/me/launch -NoWait</code><para>The image with the code is built and pushed unless it is there; see about_WandbLaunch_Kubernetes.</para></example>
/// <example><para>In the background of this session</para><code>$job = Start-WandbLaunch ./train -EntryPoint 'python train.py' -Resource local-process -AsJob; $job | Receive-Job -Wait -AutoRemoveJob</code><para>Stop-Job stops the run as Ctrl+C does.</para></example>
/// <example><para>In a container with a memory limit: what would be built and run?</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo | Start-WandbLaunch -GitRepo ./repo -DockerArgs @{ memory = '4g'; cpus = 2 } -WhatIf</code><para>Without -WhatIf it needs a Docker Engine. An address such as https://wandb.ai/me/demo/runs/22stxuh9 does as well as the object.</para></example>
[Cmdlet(VerbsLifecycle.Start, "WandbLaunch", DefaultParameterSetName = RunSet, SupportsShouldProcess = true)]
[Alias("swl")]
[OutputType("WandbLaunch.Model.LaunchedRun", "WandbLaunch.Model.LaunchPlan", "System.Management.Automation.Job")]
public sealed partial class StartWandbLaunchCommand : LaunchConfigCommand
{
    // What is about running here, and what is about a queue, where the agent decides how.
    private const string RunSet = "Run";
    private const string QueueSet = "Queue";

    /// <summary>Do not wait for the end: the run goes on without this shell.</summary>
    [Parameter]
    public SwitchParameter NoWait { get; set; }

    /// <summary>Put the run into this queue instead of running it here; an agent runs it (Start-WandbLaunchAgent). Add-WandbLaunchQueueItem can do more.</summary>
    [Parameter(Mandatory = true, ParameterSetName = QueueSet)]
    [Alias("q")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    [ValidateNotNullOrEmpty]
    public string? Queue { get; set; }

    /// <summary>Arguments with several values each: every combination becomes a run. On a cluster they are handed over together, with Slurm as one job array.</summary>
    [Parameter]
    public IDictionary? Grid { get; set; }

    /// <summary>How many runs at a time. Default 1; combinations of a -Grid on a cluster, which has a queue of its own, all at once.</summary>
    [Parameter(ParameterSetName = RunSet)]
    [ValidateRange(1, 1000)]
    public int ThrottleLimit { get; set; } = 1;

    /// <summary>Install no packages: take what the machine or the base image has.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public SwitchParameter NoInstall { get; set; }

    /// <summary>Environment variables for the program. Values of names such as API_KEY or TOKEN are treated as secrets.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public IDictionary? Environment { get; set; }

    /// <summary>Folders of this machine for the container: host:container, or host:container:ro.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string[] Volume { get; set; } = [];

    /// <summary>User and token or password for the git host.</summary>
    [Parameter(ParameterSetName = RunSet)]
    [Credential]
    public PSCredential? GitCredential { get; set; }

    /// <summary>Package index for pip. It reaches pip while it installs, and no image layer.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string? PipIndexUrl { get; set; }

    /// <summary>Further package indexes for pip.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string[] PipExtraIndexUrl { get; set; } = [];

    /// <summary>Hosts that pip trusts without TLS.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string[] PipTrustedHost { get; set; } = [];

    /// <summary>Folders or pages with wheels for pip.</summary>
    [Parameter(ParameterSetName = RunSet)]
    [Alias("WheelFolder")]
    public string[] PipFindLinks { get; set; } = [];

    /// <summary>A pip.conf to use while packages are installed.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string? PipConfigFile { get; set; }

    /// <summary>pip looks only into -PipFindLinks.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public SwitchParameter PipNoIndex { get; set; }

    /// <summary>Docker Engine to use. Default: DOCKER_HOST, the docker context, then the usual sockets.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string? DockerHost { get; set; }

    /// <summary>kubectl's configuration of the cluster (kubernetes). Default: KUBECONFIG, then ~/.kube/config, then the account of the pod that this runs in.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string? KubeConfig { get; set; }

    /// <summary>Context of the configuration: which cluster, as which user (kubernetes). Default: the current one.</summary>
    [Parameter(ParameterSetName = RunSet)]
    [ArgumentCompleter(typeof(KubeContextCompleter))]
    public string? KubeContext { get; set; }

    /// <summary>Namespace of the cluster (kubernetes). Default: the context's.</summary>
    [Parameter(ParameterSetName = RunSet)]
    [ArgumentCompleter(typeof(KubeNamespaceCompleter))]
    public string? Namespace { get; set; }

    /// <summary>Where the image with the code goes that a cluster fetches: registry.example.org/team/launch. This machine's Docker Engine builds and pushes it, with docker's logins, unless it is there; or the cluster does, see -ImageBuilder.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string? Repository { get; set; }

    /// <summary>What builds the image with the code for a cluster: docker (this machine's Docker Engine), or kaniko or buildkit, a Job of the cluster itself. kaniko=registry.example.org/kaniko:v1 names the builder's own image. Default: docker.</summary>
    [Parameter(ParameterSetName = RunSet)]
    [ArgumentCompleter(typeof(ImageBuilderCompleter))]
    public string? ImageBuilder { get; set; }

    /// <summary>Login node of a Slurm cluster, user@host or user@host:port, reached by the system's ssh with its keys, agent and config. Default: this machine.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string? SlurmHost { get; set; }

    /// <summary>Folder on the cluster's shared file system for code, environments and logs of Slurm runs. Default: a folder in the user's data folder there.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public string? SlurmFolder { get; set; }

    /// <summary>Seconds that a run gets to end by itself when it is stopped. Default 10.</summary>
    [Parameter(ParameterSetName = RunSet)]
    [ValidateRange(0, 3600)]
    public int StopGracePeriod { get; set; } = 10;

    /// <summary>Let what the program started as processes of its own outlive it (local-process). Default: it is ended with the program, also after a normal end.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public SwitchParameter KeepChildren { get; set; }

    /// <summary>Most bytes of the log, such as 100MB: the first half is the beginning of the output, the second half its end, which is added when the run is over. Default: no limit.</summary>
    [Parameter(ParameterSetName = RunSet)]
    [ValidateRange(4096L, long.MaxValue)]
    public long? MaxLogSize { get; set; }

    /// <summary>Run in the background, as a job of this session: the job is written at once, and Receive-Job gives the runs and what they print, Wait-Job waits, Stop-Job stops the runs as Ctrl+C does. The runs end with the session; with -NoWait they outlive it.</summary>
    [Parameter(ParameterSetName = RunSet)]
    public SwitchParameter AsJob { get; set; }

    /// <summary>Show neither the program's output nor live lines. As everywhere, -Quiet takes away what is there to be looked at, and no objects, warnings or errors; the output is in the log.</summary>
    [Parameter]
    public SwitchParameter Quiet { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    private readonly ConcurrentDictionary<Task, byte> _running = new();
    private SemaphoreSlim? _slots;
    private LaunchStore? _runs;

    private LaunchStore Runs => _runs ??= LaunchStore.Of(Context);
    private Supervision? _supervision;
    private LaunchOptions _options = new();
    private QueuePusher? _pusher;
    private int _launches;

    /// <inheritdoc/>
    private protected override bool SetsExitCode => true;

    /// <inheritdoc/>
    private protected override bool ShowsLines => !Quiet;

    /// <inheritdoc/>
    protected override async Task BeginAsync()
    {
        if (Queue is not null)
        {
            _pusher = NoWait
                ? throw new LaunchException(
                    "NoWaitWithQueue",
                    LaunchErrorCategory.InvalidArgument,
                    "-NoWait has no meaning with -Queue: queueing never waits.",
                    Queue
                )
                : new QueuePusher(await GetConnectionAsync(Connection), Queue, null, null, null, null, WorkingFolder);
            if (await AskAsync(IsWhatIf))
            {
                await _pusher.CheckQueueAsync(Token);
            }
        }

        _slots = new SemaphoreSlim(ThrottleLimit);
        if (AsJob && NoWait)
        {
            throw new LaunchException(
                "NoWaitAsJob",
                LaunchErrorCategory.InvalidArgument,
                "-NoWait leaves a run to itself, so that there is nothing for a job to do. Give one of the two: -AsJob for a job that ends with this session, -NoWait for runs that outlive it.",
                "AsJob"
            );
        }

        if (ThrottleLimit > 1 && !Quiet)
        {
            _renewing = _lines.RenewAsync(Token);
        }

        _supervision = new Supervision(Runs.Resources);
        Context.Cache.Trim(MaxCacheBytes());
        _options = new LaunchOptions
        {
            NoInstall = NoInstall,
            Environment =
                Environment?.Keys.Cast<object>().ToDictionary(k => k.ToString()!, k => Environment[k]?.ToString() ?? "")
                ?? [],
            Volumes = [.. Volume.Select(v => CheckVolume(v, FullPath))],
            GitCredential = GitCredential is null
                ? null
                : new GitCredential(
                    GitCredential.UserName,
                    Secrets.Register(new NetworkCredential("", GitCredential.Password).Password)
                ),
            DockerHost = DockerHost,
            Repository = Repository,
            Settings = ResourceSettings.Of(
                (nameof(SlurmHost), SlurmHost),
                (nameof(SlurmFolder), SlurmFolder),
                (nameof(KubeConfig), KubeConfig is null ? null : FullPath(KubeConfig)),
                (nameof(KubeContext), KubeContext),
                (nameof(Namespace), Namespace),
                (nameof(ImageBuilder), ImageBuilder)
            ),
            StopGraceSeconds = StopGracePeriod,
            KeepChildren = KeepChildren,
            MaxLogSize = MaxLogSize,
            Pip = new PipSettings
            {
                IndexUrl = PipIndexUrl,
                ExtraIndexUrls = PipExtraIndexUrl,
                TrustedHosts = PipTrustedHost,
                FindLinks =
                [
                    .. PipFindLinks.Select(l => l.Contains("://", StringComparison.Ordinal) ? l : FullPath(l)),
                ],
                ConfigFile = PipConfigFile is null ? null : FullPath(PipConfigFile),
                NoIndex = PipNoIndex,
            },
        };
    }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        if (InputObject is null && Uri is null && Job is null && Config is null && DockerImage is null)
        {
            throw new LaunchException(
                "SourceMissing",
                LaunchErrorCategory.InvalidArgument,
                "There is nothing to launch: give a run's address, a git URL, a folder, a job (-Job), or a docker image (-DockerImage).",
                null
            );
        }

        var config = await BuildConfigAsync();
        var combinations = ArgumentGrid.Combinations(Map(Grid)).ToList();
        var together =
            combinations.Count > 1
            && !MyInvocation.BoundParameters.ContainsKey(nameof(ThrottleLimit))
            && _pusher is null
            && Runs.Resources.Of(config).Info.Queues;
        foreach (var combination in combinations)
        {
            var full = combination is null
                ? config
                : config with
                {
                    Args = ArgumentSet.Merge(config.Args, combination),
                };
            if (_pusher is null)
            {
                await LaunchAsync(full, together);
                continue;
            }

            var spec = _pusher.Spec(full);
            if (
                await ShouldProcessAsync(
                    Secrets.Mask(combination is null ? full.Source ?? "" : $"{spec.Source} {spec.Args}"),
                    $"Add to queue {Queue}"
                )
            )
            {
                _pusher.Add(spec);
            }
        }
    }

    /// <summary>Launches one, and waits for it where it is the only one at a time.</summary>
    private async Task LaunchAsync(LaunchConfig config, bool together)
    {
        if (AsJob && !await AskAsync(IsWhatIf))
        {
            await AddToJobAsync(config, together);
            return;
        }

        if (!together)
        {
            await _slots!.WaitAsync(Token);
        }

        var number = Interlocked.Increment(ref _launches);

        // Off this thread, which takes up the next one.
        var task = Task.Run(() => LaunchAsync(config, number, together), CancellationToken.None);
        _running.TryAdd(task, 0);
        _ = task.ContinueWith(
            t => _running.TryRemove(t, out _),
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default
        );
        if (ThrottleLimit == 1 && !together)
        {
            await task;
        }
    }

    /// <inheritdoc/>
    protected override async Task EndAsync()
    {
        if (_pusher is not null)
        {
            await _pusher.FlushAsync(OutputAll, Error, Token);
        }

        if (_forJob.Count > 0)
        {
            await AskAsync(StartJob);
        }

        await Task.WhenAll(_running.Keys);
        _slots?.Dispose();
        _supervision?.Dispose();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            // A pipeline that an error ended does not reach EndAsync, nor is it always stopped: its runs are ended before
            // the command is, for which PowerShell waits here.
            _ = StopAsync();
#pragma warning disable VSTHRD002
            Task.WhenAll(_running.Keys.Append(_renewing))
                .ContinueWith(static _ => { }, TaskScheduler.Default)
                .Wait(TimeSpan.FromSeconds(30));
#pragma warning restore VSTHRD002
        }

        base.Dispose(disposing);
        if (disposing)
        {
            TellStopped();
        }
    }

    private long MaxCacheBytes() =>
        long.TryParse(Context.Environment["WANDBLAUNCH_CACHE_MAX_MB"], out var megabytes) && megabytes > 0
            ? megabytes << 20
            : 20L << 30;

    // A folder needs no server; without a key it runs without one.
    private async Task<WandbConnection?> ConnectAsync(CancellationToken token)
    {
        if (
            Connection is null
            && WandbSession.Current is null
            && ResolveSettings() is { ApiKey: null, AccessToken: null }
        )
        {
            return null;
        }

        return await GetConnectionAsync(Connection);
    }

    internal static string CheckVolume(string volume, Func<string, string> fullPath)
    {
        var parts = volume.Split(':');
        var drive = OperatingSystem.IsWindows() && parts.Length > 1 && parts[0].Length == 1 ? 1 : 0;
        var host = string.Join(':', parts.Take(1 + drive));
        return parts.Length - drive is 2 or 3 && parts[1 + drive].StartsWith('/')
            ? fullPath(host) + volume[host.Length..]
            : throw new LaunchException(
                "VolumeInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{volume}' is not host:container or host:container:ro, with an absolute path in the container. Write it as -Volume /data:/data:ro.",
                volume
            );
    }
}
