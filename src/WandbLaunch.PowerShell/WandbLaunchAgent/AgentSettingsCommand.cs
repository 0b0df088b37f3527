using System.Collections;
using System.Management.Automation;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>The settings of an agent; shared by the command that runs one and the one that registers one.</summary>
public abstract class AgentSettingsCommand : PipelineCommand
{
    private readonly List<string> _queues = [];

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbRunQueue), nameof(WandbLaunchAgent)];

    /// <summary>Project whose queues are served, on a server of 2022. Servers of today keep queues apart from projects and need none.</summary>
    [Parameter(Position = 0)]
    [Alias("p")]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? Project { get; set; }

    /// <summary>Queues to take from, also with commas between: q1,q2,q3. Default: default.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("q", "Queues")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    public string[]? Queue { get; set; }

    /// <summary>Owner of the queues. Default: the connection's entity.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("e")]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Project that the queues belong to, where it is not the usual one.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? QueueProject { get; set; }

    /// <summary>A launch-config.yaml. Default: ~/.config/wandb/launch-config.yaml, where it exists. Parameters win over it.</summary>
    [Parameter]
    [Alias("c")]
    public string? Config { get; set; }

    /// <summary>Runs at a time: one number for all (default 1; -1 for no limit), or one for each resource, as @{ slurm = 200; 'local-container' = 2 } or slurm=200, local-container=2. A resource that is not named has 1. Items of a resource that is full wait in their queue, and others go past them.</summary>
    [Parameter]
    [Alias("j")]
    [MaxJobs]
    [ArgumentCompleter(typeof(MaxJobsCompleter))]
    public object? MaxJobs { get; set; }

    /// <summary>Longest time that a run may run, as 2h, 90m or 02:00:00; then it is stopped, and its item fails. Items and queues can say less, not more. Default: no limit.</summary>
    [Parameter]
    [Span]
    public TimeSpan? TimeLimit { get; set; }

    /// <summary>Longest time from when an item is taken until its program runs, as 30m; then it is given up, and fails. Items and queues can say less, not more. Default: no limit.</summary>
    [Parameter]
    [Span]
    public TimeSpan? StartLimit { get; set; }

    /// <summary>Fair: the queues in turn. Strict: always the first one that has an item.</summary>
    [Parameter]
    [ValidateSet("Fair", "Strict")]
    public string? QueueOrder { get; set; }

    /// <summary>GPUs for each run, its own while it runs. Default: the machine's GPUs divided by -MaxJobs. 0: runs share them all.</summary>
    [Parameter]
    [ValidateRange(0, 1024)]
    public int? GpusPerJob { get; set; }

    /// <summary>Tries after the first one when the machine, the network or an engine fails before the program starts. A program that fails is never tried again. Default 3.</summary>
    [Parameter]
    [ValidateRange(0, 100)]
    public int? MaxRetry { get; set; }

    /// <summary>End when the queues are empty and nothing runs.</summary>
    [Parameter]
    public SwitchParameter StopWhenEmpty { get; set; }

    /// <summary>End after this many items.</summary>
    [Parameter]
    [ValidateRange(1, int.MaxValue)]
    public int? MaxRuns { get; set; }

    /// <summary>Take no more items from this time on, and end after what runs.</summary>
    [Parameter]
    public DateTime? Until { get; set; }

    /// <summary>https address that gets each event as JSON.</summary>
    [Parameter]
    public string? Webhook { get; set; }

    /// <summary>Policy: owners of the runs that may be run and reproduced; * for all. Default: the agent's own entity.</summary>
    [Parameter]
    public string[]? AllowEntity { get; set; }

    /// <summary>Policy: hosts that code may come from, with wildcards; file for this machine's own disk. Default: the public hosts of GitHub, GitLab, Bitbucket and Azure DevOps.</summary>
    [Parameter]
    public string[]? AllowGitHost { get; set; }

    /// <summary>Policy: images that items may name, read as docker reads them, with wildcards that stay within host, repository or version. A name without a version is docker's latest; a pattern that ends in * means all versions. An image named with a digest needs that digest, or all versions. Default: all.</summary>
    [Parameter]
    public string[]? AllowImage { get; set; }

    /// <summary>Policy: local-container, local-process, slurm. Default: local-container only, for a process runs other people's code as you.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ResourceCompleter))]
    public string[]? AllowResource { get; set; }

    /// <summary>Policy: folders of this machine that items may mount (resource_args volume); folder:ro for reading only. Default: none.</summary>
    [Parameter]
    public string[]? AllowMount { get; set; }

    /// <summary>Policy: docker arguments beyond the fixed list: network, ipc, privileged, device, cap-add, add-host, hostname, security-opt. Named here, pids-limit, memory-swap and ulimit take any value. Default: none.</summary>
    [Parameter]
    public string[]? AllowDockerArgument { get; set; }

    /// <summary>Policy: what manifests may hold beyond the fixed list, as rule=value with wildcards: namespace=team-b, kind=PyTorchJob.kubeflow.org, secret=dataset-key, claim=data, service-account, pull-secret, priority-class, toleration, node, config-map, csi, context, env. Default: none; Jobs in the agent's own namespace.</summary>
    [Parameter]
    public string[]? AllowKubeArgument { get; set; }

    /// <summary>Policy: options of sbatch that items may give beyond the fixed list, such as nodelist, reservation or nice. Default: none.</summary>
    [Parameter]
    public string[]? AllowSlurmArgument { get; set; }

    /// <summary>Policy: items may not say which program runs: no entry point, no arguments for a docker image, no docker env or workdir. Choose the images too, with -AllowImage.</summary>
    [Parameter]
    public SwitchParameter SecureMode { get; set; }

    /// <summary>Image to build on for items that name none.</summary>
    [Parameter]
    public string? BaseImage { get; set; }

    /// <summary>Install no packages: take what the machine or the base image has.</summary>
    [Parameter]
    public SwitchParameter NoInstall { get; set; }

    /// <summary>Folders of this machine for every container: host:container, or host:container:ro.</summary>
    [Parameter]
    public string[]? Volume { get; set; }

    /// <summary>Environment variables for every program. Values of names such as API_KEY or TOKEN are treated as secrets.</summary>
    [Parameter]
    public IDictionary? Environment { get; set; }

    /// <summary>pip settings: @{ index_url = …; extra_index_urls = …; trusted_hosts = …; find_links = …; config_file = …; no_index = $true }.</summary>
    [Parameter]
    public IDictionary? Pip { get; set; }

    /// <summary>Docker Engine to use. Default: DOCKER_HOST, the docker context, then the usual sockets.</summary>
    [Parameter]
    public string? DockerHost { get; set; }

    /// <summary>kubectl's configuration of the cluster (kubernetes). Default: KUBECONFIG, then ~/.kube/config, then the account of the pod that the agent runs in.</summary>
    [Parameter]
    public string? KubeConfig { get; set; }

    /// <summary>Context of the configuration: which cluster, as which user (kubernetes). Default: the current one.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(KubeContextCompleter))]
    public string? KubeContext { get; set; }

    /// <summary>Namespace of the cluster (kubernetes). Default: the context's.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(KubeNamespaceCompleter))]
    public string? Namespace { get; set; }

    /// <summary>Where images with the code of items go that a cluster fetches: registry.example.org/team/launch. This machine's Docker Engine builds and pushes them, with docker's logins. Default: registry.url of the launch-config.yaml.</summary>
    [Parameter]
    public string? Repository { get; set; }

    /// <summary>What builds images with the code of items for a cluster: docker (this machine's Docker Engine), or kaniko or buildkit, a Job of the cluster itself. kaniko=registry.example.org/kaniko:v1 names the builder's own image. Default: builder.type of the launch-config.yaml, else docker.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ImageBuilderCompleter))]
    public string? ImageBuilder { get; set; }

    /// <summary>Login node of a Slurm cluster, user@host or user@host:port, reached by the system's ssh with its keys, agent and config. Default: this machine.</summary>
    [Parameter]
    public string? SlurmHost { get; set; }

    /// <summary>Folder on the cluster's shared file system for code, environments and logs of Slurm runs. Default: a folder in the user's data folder there.</summary>
    [Parameter]
    public string? SlurmFolder { get; set; }

    /// <summary>Seconds that a run gets to end by itself when it is stopped. Default 10.</summary>
    [Parameter]
    [ValidateRange(0, 3600)]
    public int? StopGracePeriod { get; set; }

    /// <summary>Let what a program started as processes of its own outlive it (local-process). Default: it is ended with the program.</summary>
    [Parameter]
    public SwitchParameter KeepChildren { get; set; }

    /// <summary>Most bytes of a run's log, such as 100MB: the first half is the beginning of the output, the second half its end. Default: no limit.</summary>
    [Parameter]
    [ValidateRange(4096L, long.MaxValue)]
    public long? MaxLogSize { get; set; }

    /// <summary>Days that logs of the agent's runs are kept on this machine. Default 30; 0 for ever.</summary>
    [Parameter]
    [ValidateRange(0, 36500)]
    public int? KeepLogDays { get; set; }

    /// <summary>One agent serves all the queues that come down the pipeline.</summary>
    protected override bool ProcessNow()
    {
        _queues.AddRange((Queue ?? []).Except(_queues));
        return true;
    }

    /// <summary>True when queues were to come from the pipeline and none did: without them the default queue would be served, which nobody asked for.</summary>
    private protected bool LacksQueues => MyInvocation.ExpectingInput && _queues.Count == 0;

    /// <summary>The queues that were named and piped so far.</summary>
    private protected IReadOnlyList<string> Queues => _queues;

    private protected string? ConfigPath => Config is null ? null : FullPath(Config);

    /// <summary>What was given, under the names of the file.</summary>
    private protected JsonObject Given()
    {
        var map = new JsonObject();
        Put("project", Project);
        Put("queues", _queues.Count > 0 ? _queues.ToArray() : null);
        Put("entity", Entity);
        Put("queue_project", QueueProject);
        Put("max_jobs", MaxJobs);
        Put("time_limit", Show(TimeLimit));
        Put("start_limit", Show(StartLimit));
        Put("queue_order", QueueOrder?.ToLowerInvariant());
        Put("gpus_per_job", GpusPerJob);
        Put("max_retry", MaxRetry);
        Switch("stop_when_empty", nameof(StopWhenEmpty), StopWhenEmpty);
        Put("max_runs", MaxRuns);
        Put("until", Until?.ToString("o"));
        Put("webhook", Webhook);
        Switch("secure_mode", nameof(SecureMode), SecureMode);
        Put("base_image", BaseImage);
        Switch("no_install", nameof(NoInstall), NoInstall);
        Put("volumes", Volume?.Select(v => StartWandbLaunchCommand.CheckVolume(v, FullPath)).ToArray());
        Put("environment_variables", Environment);
        Put("pip", Pip);
        Put("docker_host", DockerHost);
        Put("repository", Repository);
        Put(ResourceSettings.NameOf(nameof(KubeConfig)), KubeConfig is null ? null : FullPath(KubeConfig));
        Put(ResourceSettings.NameOf(nameof(KubeContext)), KubeContext);
        Put(ResourceSettings.NameOf(nameof(Namespace)), Namespace);
        Put(ResourceSettings.NameOf(nameof(ImageBuilder)), ImageBuilder);
        Put(ResourceSettings.NameOf(nameof(SlurmHost)), SlurmHost);
        Put(ResourceSettings.NameOf(nameof(SlurmFolder)), SlurmFolder);
        Put("stop_grace_period", StopGracePeriod);
        Switch("keep_children", nameof(KeepChildren), KeepChildren);
        Put("max_log_size", MaxLogSize);
        Put("keep_log_days", KeepLogDays);
        var policy = new JsonObject();
        foreach (
            var (name, value) in new[]
            {
                ("entities", AllowEntity),
                ("git_hosts", AllowGitHost),
                ("images", AllowImage),
                ("resources", AllowResource),
                ("mounts", AllowMount),
                ("docker_args", AllowDockerArgument),
                (ResourceSettings.NameOf("KubeArgs"), AllowKubeArgument),
                (ResourceSettings.NameOf("SlurmArgs"), AllowSlurmArgument),
            }
        )
        {
            if (value is not null)
            {
                policy[name] = JsonTree.Of(value);
            }
        }

        if (policy.Count > 0)
        {
            map["policy"] = policy;
        }

        return map;

        void Put(string name, object? value)
        {
            if (value is not null)
            {
                map[name] = JsonTree.Of(value);
            }
        }

        static string? Show(TimeSpan? span) => span is { } given ? SpanText.Show(given) : null;

        // A switch that was not typed leaves the file's word.
        void Switch(string name, string parameter, SwitchParameter value)
        {
            if (MyInvocation.BoundParameters.ContainsKey(parameter))
            {
                map[name] = value.IsPresent;
            }
        }
    }
}
