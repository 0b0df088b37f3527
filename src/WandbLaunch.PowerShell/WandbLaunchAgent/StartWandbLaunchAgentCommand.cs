using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.LocalServer;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Runs an agent: takes runs from queues and runs them on this machine.</summary>
/// <remarks>Writes an object for everything that happens, and shows a status line. It takes one run at a time, or -MaxJobs, and waits when the queues are empty. Each run has a supervisor of its own and outlives the agent: whatever ends the agent, the next one on this machine goes on with its runs and reports those that ended meanwhile; no run is repeated and none is lost.
///
/// An agent runs other people's code: whoever can put items into its queues. What it runs is its policy, which it says at its start and which the -Allow parameters change. By default it runs containers only, code of its own entity from the public git hosts, without mounts. What the policy refuses fails with the reason on its item.
///
/// Ctrl+C, Stop-WandbLaunchAgent -Drain and a stop on the server let the runs finish; a second Ctrl+C, or Stop-WandbLaunchAgent, stops them. $LASTEXITCODE is 0 when all was well, 1 when the agent could not work, 2 when runs failed or were stopped, 3 when it was asked to stop, 4 when its runs were stopped with it. Register-WandbLaunchAgent makes it a service.</remarks>
/// <example><para>Work off a queue, then end</para><code>Connect-Wandb -Local; Start-WandbLaunchAgent -Queue default -StopWhenEmpty</code><para>For scheduled tasks; see also -MaxRuns and -Until.</para></example>
/// <example><para>Four runs at a time from three queues, each with a GPU of its own</para><code>Connect-Wandb -Local; Start-WandbLaunchAgent -Queue gpu, cpu, default -MaxJobs 4 -GpusPerJob 1 -QueueOrder Strict -StopWhenEmpty</code><para>gpu goes first while it has items. Without -StopWhenEmpty it goes on until it is stopped.</para></example>
/// <example><para>In the background of this session</para><code>Connect-Wandb -Local; $job = Start-WandbLaunchAgent -Queue default -StopWhenEmpty -AsJob; $job | Receive-Job -Wait -AutoRemoveJob</code><para>Without -StopWhenEmpty it goes on until Stop-Job, or until the session ends.</para></example>
/// <example><para>Run as processes what is in a git repository of your own</para><code>Connect-Wandb -Local; Start-WandbLaunchAgent -AllowResource local-process -AllowGitHost git.example.org, file -MaxRuns 1 -StopWhenEmpty -OnRunFinished { "$($_.RunId): $($_.ExitCode)" }</code><para>-OnRunFinished is called with the event as $_.</para></example>
[Cmdlet(VerbsLifecycle.Start, "WandbLaunchAgent")]
[OutputType("WandbLaunch.Agents.AgentEvent", "System.Management.Automation.Job")]
public sealed class StartWandbLaunchAgentCommand : AgentSettingsCommand
{
    /// <summary>Name of the agent on this machine; at most one of a name runs. Default: made of the machine's.</summary>
    [Parameter]
    public string? Name { get; set; }

    /// <summary>Called when a run's program runs; the event is $_ and $args[0].</summary>
    [Parameter]
    public ScriptBlock? OnRunStarted { get; set; }

    /// <summary>Called when a run has ended, however; the event is $_ and $args[0].</summary>
    [Parameter]
    public ScriptBlock? OnRunFinished { get; set; }

    /// <summary>Run in the background, as a job of this session: the job is written at once, and Receive-Job gives the events. Stop-Job lets the runs finish, as Ctrl+C does, and a second one stops them. An agent that is to outlive the session is a service: Register-WandbLaunchAgent.</summary>
    [Parameter]
    public SwitchParameter AsJob { get; set; }

    /// <summary>Show no status line. As everywhere, -Quiet takes away what is there to be looked at, and no objects: events are written all the same, and $null = Start-WandbLaunchAgent … drops them.</summary>
    [Parameter]
    public SwitchParameter Quiet { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    private LaunchAgent? _agent;
    private int _interrupts;
    private DateTimeOffset _drainedAt;
    private string _shown = "";

    /// <inheritdoc/>
    private protected override bool SetsExitCode => true;

    /// <inheritdoc/>
    private protected override bool ShowsLines => !Quiet;

    /// <inheritdoc/>
    protected override async Task EndAsync()
    {
        if (LacksQueues)
        {
            return;
        }

        if (AsJob)
        {
            await AskAsync(StartJob);
            return;
        }

        var given = Given();
        if (Name is not null)
        {
            given["name"] = Name;
        }

        var chosen = Connection ?? WandbSession.Chosen;
        var config = AgentConfig.Resolve(Context.Environment, ConfigPath, given, chosen?.Settings);
        var server =
            chosen
            ?? (
                config.LocalServer is { } database && WandbSession.Current is null
                    ? await ConnectLocalAsync(config, database)
                    : await GetConnectionAsync(null)
            );
        if (
            chosen is null
            && (config.ApiKey is not null || (config.BaseUrl is { } url && url.TrimEnd('/') != server.BaseUrl))
        )
        {
            server = await WandbConnection.OpenAsync(
                ResolveSettings(config.BaseUrl, config.ApiKey, config.Entity, config.Project),
                text => Verbose(text),
                Token
            );
        }

        // From here on nobody waits at a prompt.
        ServerPatience.Current = null;
        var webhook = config.Webhook is null ? null : new AgentWebhook(config.Webhook, Warn, Context.Time);
        try
        {
            await RunAsync(config, server, webhook);
        }
        finally
        {
            if (webhook is not null)
            {
                await webhook.DisposeAsync();
            }
        }
    }

    private bool StartJob()
    {
        var parameters = CommandJob.Common(this).ToDictionary(p => p.Key, p => p.Value);
        var own = GetType()
            .GetProperties()
            .Where(p => p.IsDefined(typeof(ParameterAttribute), true))
            .Select(p => p.Name)
            .Except([nameof(AsJob), nameof(InputObject), nameof(Queue)])
            .ToHashSet(StringComparer.OrdinalIgnoreCase);
        foreach (var (name, value) in MyInvocation.BoundParameters)
        {
            if (own.Contains(name))
            {
                // A script block belongs to its session: the job gets its text, as Start-ThreadJob does.
                parameters[name] = value is ScriptBlock script ? ScriptBlock.Create(script.ToString()) : value;
            }
        }

        if (Queues.Count > 0)
        {
            parameters[nameof(Queue)] = Queues.ToArray();
        }

        // Drives of this session are not there.
        if (ConfigPath is { } file)
        {
            parameters[nameof(Config)] = file;
        }

        if (Volume is not null)
        {
            parameters[nameof(Volume)] = Volume.Select(v => StartWandbLaunchCommand.CheckVolume(v, FullPath)).ToArray();
        }

        if ((Connection ?? WandbSession.Current) is { } server)
        {
            parameters[nameof(Connection)] = server;
        }

        WriteObject(
            CommandJob.Start(
                this,
                Name ?? string.Join(", ", Queues.DefaultIfEmpty("default")),
                Name,
                parameters,
                null,
                // One that waits ends at once; one that works finishes its runs, and goes on with that behind Stop-Job.
                TimeSpan.FromSeconds(3)
            )
        );
        return true;
    }

    private async Task<WandbConnection> ConnectLocalAsync(AgentConfig config, string database)
    {
        var server = await LocalServers.StartAsync(Context, database, Token, Warn);
        return await WandbConnection.OpenAsync(
            ResolveSettings(server.Url, LocalServers.ReadKey(server.Path), config.Entity, config.Project),
            text => Verbose(text),
            Token
        );
    }

    private async Task RunAsync(AgentConfig config, WandbConnection server, AgentWebhook? webhook)
    {
        var activity = "Agent";
        var callbacks = new AgentCallbacks
        {
            Happened = happened =>
            {
                webhook?.Post(happened);
                Take(happened);
            },
            Status = line => ShowStatus(activity, line),
        };
        using var agent = _agent = await LaunchAgent.StartAsync(config, server, callbacks, Token, Context);
        activity = $"Agent {agent.Name}";
        agent.PolicyLines.ToList().ForEach(rule => Verbose($"Policy: {rule}"));
        if (InJob is null)
        {
            Console.CancelKeyPress += OnCancelKey;
        }
        else
        {
            InJob.Insisted = () => agent.Stop("asked again to stop");
            InJob.Left = () => agent.Detach("its shell ended");
        }

        using var stop = Token.Register(() =>
        {
            _drainedAt = Context.Time.GetUtcNow();
            agent.Drain("interrupted");
        });
        try
        {
            var code = await agent.RunAsync();
            var last = new PSVariable("global:LASTEXITCODE", code);
            if (Token.IsCancellationRequested)
            {
                // The pipeline's thread only waits for this one.
                SessionState.PSVariable.Set(last);
            }
            else
            {
                Post(() => SessionState.PSVariable.Set(last));
            }
        }
        finally
        {
            Console.CancelKeyPress -= OnCancelKey;
            ShowLine(activity, "", 100);
        }
    }

    // The first Ctrl+C stops the pipeline, which drains; PowerShell keeps further ones to itself, and they stop the runs.
    private void OnCancelKey(object? sender, ConsoleCancelEventArgs e)
    {
        e.Cancel = true;
        if (_agent is not { } agent)
        {
            return;
        }

        var first =
            Interlocked.Increment(ref _interrupts) == 1
            && (agent.Mode == AgentMode.Working || Context.Time.GetUtcNow() - _drainedAt < TimeSpan.FromSeconds(1));
        if (first)
        {
            agent.Drain("interrupted");
        }
        else
        {
            agent.Stop("interrupted again");
        }
    }

    private void Take(AgentEvent happened)
    {
        if (Token.IsCancellationRequested && InJob is not null)
        {
            InJob.Late(happened);
            return;
        }

        if (Token.IsCancellationRequested)
        {
            // The pipeline takes no more objects; the person at the console still wants to know.
            Host.UI.WriteLine(
                happened
                    + (
                        happened.Kind == AgentEventKind.Draining && _agent?.Mode != AgentMode.Stopping
                            ? " (Ctrl+C again stops them)"
                            : ""
                    )
            );
            return;
        }

        Output(happened);
        var hook = happened.Kind switch
        {
            AgentEventKind.RunStarted => OnRunStarted,
            AgentEventKind.RunFinished
            or AgentEventKind.RunFailed
            or AgentEventKind.RunStopped
            or AgentEventKind.ItemFailed
            or AgentEventKind.ItemRefused => OnRunFinished,
            _ => null,
        };
        if (hook is not null)
        {
            Post(() => Call(hook, happened));
        }
    }

    private void Call(ScriptBlock hook, AgentEvent happened)
    {
        try
        {
            foreach (var result in hook.InvokeWithContext(null, [new PSVariable("_", happened)], happened))
            {
                WriteObject(result);
            }
        }
        catch (RuntimeException e) when (e is not PipelineStoppedException)
        {
            WriteWarning($"The script block for {happened.Kind} failed: {e.Message}");
        }
    }

    private void ShowStatus(string activity, string line)
    {
        if (line == _shown)
        {
            return;
        }

        _shown = line;
        ShowLine(activity, line, null);
    }
}
