using System.Management.Automation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Shows agents.</summary>
/// <remarks>Shows the agents of this machine, and, where a server is connected that lists them, those of other machines: what they listen to, what runs, and how they ended. An agent that ended long ago and without a trace left on this machine is not shown unless asked for by name or with -State stopped.</remarks>
/// <example><para>Which agents work now?</para><code>Get-WandbLaunchAgent -State polling, running</code><para>lost: killed, or not heard of for two minutes.</para></example>
/// <example><para>The last lines of an agent's log</para><code>Get-WandbLaunchAgent | Where-Object LogPath | ForEach-Object { [System.IO.File]::ReadAllLines($_.LogPath)[-1] }</code><para>A JSON object each.</para></example>
/// <example><para>What do the agents of this machine hold?</para><code>Get-WandbLaunchAgent | Where-Object Hostname -eq ([Environment]::MachineName) | Select-Object Name, State, Queues, Running</code><para>Agents of other machines are seen by way of the server.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunchAgent")]
[OutputType("WandbLaunch.Wandb.WandbLaunchAgent")]
public sealed class GetWandbLaunchAgentCommand : AgentCommand
{
    /// <summary>Names; wildcards are allowed.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(AgentCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = ["*"];

    /// <summary>States that count. Default: all but agents of other machines that have stopped.</summary>
    [Parameter]
    public AgentState[] State { get; set; } = [];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var all = await AgentsAsync();
        foreach (var name in Kind == nameof(WandbLaunch.Agents.AgentEvent) ? Texts("Agent") : Name)
        {
            var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
            var found = all.Where(a => pattern.IsMatch(a.Name)).ToList();
            var named = !WildcardPattern.ContainsWildcardCharacters(name);
            if (named && found.Count == 0)
            {
                Error(Missing(name), name);
            }

            found
                .Where(a =>
                    State.Length > 0
                        ? State.Contains(a.State)
                        : named || a.Local || a.State is not (AgentState.Stopped or AgentState.Lost)
                )
                .ToList()
                .ForEach(Output);
        }
    }
}
