using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Reads the log of agents of this machine.</summary>
/// <remarks>Writes what an agent did, an event each, oldest first: items taken, runs started and ended, retries, warnings, its own start and end. -Follow goes on until the agent has ended. The log of an agent of another machine is on that machine.</remarks>
/// <example><para>What went wrong in the last day?</para><code>Get-WandbLaunchAgent | Receive-WandbLaunchAgentLog | Where-Object { $_.Kind -in 'RunFailed', 'ItemFailed', 'Warning' -and $_.Time -gt [DateTime]::Now.AddDays(-1) }</code><para>Of all agents of this machine.</para></example>
/// <example><para>The last ten events of one agent</para><code>Get-WandbLaunchAgent * | Select-Object -First 1 | Receive-WandbLaunchAgentLog -Tail 10</code><para>From any shell.</para></example>
/// <example><para>How long did its runs take?</para><code>Get-WandbLaunchAgent | Receive-WandbLaunchAgentLog | Where-Object Kind -eq RunFinished | Select-Object RunId, Duration</code><para>Events are objects.</para></example>
[Cmdlet(VerbsCommunications.Receive, "WandbLaunchAgentLog")]
[OutputType("WandbLaunch.Agents.AgentEvent")]
public sealed class ReceiveWandbLaunchAgentLogCommand : PipelineCommand
{
    /// <summary>Names of agents of this machine; wildcards are allowed.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(AgentCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <summary>Only the last events.</summary>
    [Parameter]
    [ValidateRange(1, int.MaxValue)]
    public int? Tail { get; set; }

    /// <summary>Go on until the agent has ended.</summary>
    [Parameter]
    public SwitchParameter Follow { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbLaunchAgent), nameof(AgentEvent)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var all = AgentStore.Of(Context).All().ToList();
        foreach (var name in Kind == nameof(AgentEvent) ? Texts("Agent") : Name)
        {
            var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
            var found = all.Where(a => pattern.IsMatch(a.Name)).ToList();
            if (found.Count == 0 && !WildcardPattern.ContainsWildcardCharacters(name))
            {
                Error(
                    new LaunchException(
                        "AgentNotFound",
                        LaunchErrorCategory.ObjectNotFound,
                        $"There is no agent {name} on this machine, so its log is not here. See Get-WandbLaunchAgent; the log of an agent of another machine is there.",
                        name
                    ),
                    name
                );
            }

            foreach (var agent in found.Where(a => a.LogPath is not null))
            {
                await ReadAsync(agent);
            }
        }
    }

    private async Task ReadAsync(WandbLaunchAgent agent)
    {
        var reader = new AgentLogReader(agent.LogPath!, Context.Time);
        if (Tail is not { } count)
        {
            await foreach (var happened in reader.ReadAsync(Follow ? () => Runs(agent.Name) : null, Token))
            {
                Output(happened);
            }

            return;
        }

        var last = new Queue<AgentEvent>();
        var read = 0;
        await foreach (var happened in reader.ReadAsync(null, Token))
        {
            read++;
            last.Enqueue(happened);
            if (last.Count > count)
            {
                last.Dequeue();
            }
        }

        OutputAll([.. last]);
        if (Follow)
        {
            // What came since is behind those that were read.
            await foreach (var happened in reader.ReadAsync(() => Runs(agent.Name), Token))
            {
                if (--read < 0)
                {
                    Output(happened);
                }
            }
        }
    }

    private bool Runs(string name) =>
        AgentStore.Of(Context).All().Any(a => a.Name == name && a.State is not (AgentState.Stopped or AgentState.Lost));
}
