using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Stops agents.</summary>
/// <remarks>The agent takes no more items. With -Drain its runs finish first; without, they are stopped: each is asked to end, gets its grace period, and then everything that it started is killed and its container removed. The command waits until the agent is gone. Agents of other machines are asked by way of the server, and let their runs finish.</remarks>
/// <example><para>Let the runs finish, then end</para><code>Get-WandbLaunchAgent -State polling, running | Stop-WandbLaunchAgent -Drain -Timeout 60</code><para>After the time is over it is an error; the agent goes on draining.</para></example>
/// <example><para>Which would be stopped?</para><code>Get-WandbLaunchAgent -State polling, running | Stop-WandbLaunchAgent -WhatIf</code><para>Nothing is stopped.</para></example>
/// <example><para>Stop one now, with its runs</para><code>Get-WandbLaunchAgent gpu* | Stop-WandbLaunchAgent -PassThru</code><para>Its items are told that they were stopped.</para></example>
[Cmdlet(VerbsLifecycle.Stop, "WandbLaunchAgent", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbLaunchAgent")]
public sealed class StopWandbLaunchAgentCommand : AgentCommand
{
    /// <summary>Names of agents.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(AgentCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <summary>Let the runs finish.</summary>
    [Parameter]
    public SwitchParameter Drain { get; set; }

    /// <summary>Seconds to wait for the agent's end. Default: no limit with -Drain, else one minute; 0 does not wait.</summary>
    [Parameter]
    [ValidateRange(0, int.MaxValue)]
    public int? Timeout { get; set; }

    /// <summary>Write the agent as it is then.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        foreach (var name in await NamesAsync())
        {
            try
            {
                await StopAsync(name);
            }
            catch (Exception e) when (e is LaunchException or IOException)
            {
                Error(e, name);
            }
        }
    }

    // Of those that a wildcard fits, what runs.
    private async Task<IReadOnlyList<string>> NamesAsync()
    {
        string[] given = Kind == nameof(AgentEvent) ? Texts("Agent") : Name;
        if (!given.Any(WildcardPattern.ContainsWildcardCharacters))
        {
            return given;
        }

        var running = (await AgentsAsync())
            .Where(a => a.State is not (AgentState.Stopped or AgentState.Lost))
            .Select(a => a.Name)
            .Distinct(StringComparer.OrdinalIgnoreCase)
            .ToList();
        return
        [
            .. given.SelectMany(n =>
                WildcardPattern.ContainsWildcardCharacters(n)
                    ? running.Where(r => WildcardPattern.Get(n, WildcardOptions.IgnoreCase).IsMatch(r))
                    : [n]
            ),
        ];
    }

    private async Task StopAsync(string name)
    {
        var agent =
            (await AgentsAsync())
                .Where(a => a.Name.Equals(name, StringComparison.OrdinalIgnoreCase))
                .OrderByDescending(a => a.Local)
                .FirstOrDefault()
            ?? throw Missing(name);
        if (agent.State is AgentState.Stopped or AgentState.Lost && agent.Local)
        {
            Verbose($"{name} does not run: {agent.State}");
        }
        else if (
            await ShouldProcessAsync(
                $"{agent.Name} ({string.Join(", ", agent.Queues)}; {agent.Running ?? 0} run)",
                Drain || !agent.Local ? "Stop agent after its runs" : "Stop agent and its runs"
            )
        )
        {
            agent = agent.Local ? await StopLocalAsync(agent) : await StopRemoteAsync(agent);
        }

        if (PassThru)
        {
            Output(agent);
        }
    }

    private async Task<WandbLaunchAgent> StopLocalAsync(WandbLaunchAgent agent)
    {
        var folder = AgentStore.Of(Context).FolderOf(agent.Name);
        AgentStore.AskStop(folder, Drain);
        var limit =
            Timeout is { } seconds ? TimeSpan.FromSeconds(seconds)
            : Drain ? TimeSpan.MaxValue
            : TimeSpan.FromMinutes(1);
        var from = Context.Time.GetTimestamp();
        while (
            (agent = AgentStore.Load(folder) ?? agent).State is not (AgentState.Stopped or AgentState.Lost)
            && Timeout != 0
        )
        {
            if (Context.Time.GetElapsedTime(from) >= limit)
            {
                throw new LaunchException(
                    "WaitTimeout",
                    LaunchErrorCategory.OperationTimeout,
                    $"The agent {agent.Name} still ends after {limit.TotalSeconds:0} s: {agent.Running} of its runs are not done. {(Drain ? $"It goes on; stop them with Stop-WandbLaunchAgent {agent.Name}." : "")}",
                    agent
                );
            }

            await Task.Delay(TimeSpan.FromMilliseconds(100), Context.Time, Token);
        }

        return agent;
    }

    private async Task<WandbLaunchAgent> StopRemoteAsync(WandbLaunchAgent agent)
    {
        var server = await GetConnectionAsync(Connection);
        if (!await (await server.Api.ProtocolAsync(Token)).StopAgentAsync(agent.AgentId!, Token))
        {
            throw new LaunchException(
                "AgentNotStopped",
                LaunchErrorCategory.InvalidOperation,
                $"The agent {agent.Name} runs on {agent.Hostname}, and this server cannot pass on that it should stop. Stop it there, or in the server's web page.",
                agent
            );
        }

        return agent;
    }
}
