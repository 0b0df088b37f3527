using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Takes an agent's service away.</summary>
/// <remarks>The service is not started again, and its definition and settings are removed. An agent that runs is asked to end after its runs; Stop-WandbLaunchAgent ends them too.</remarks>
/// <example><para>What would be removed?</para><code>Unregister-WandbLaunchAgent -Name nightly -WhatIf -ErrorAction SilentlyContinue</code><para>An error where there is no such service.</para></example>
/// <example><para>Remove without being asked</para><code>Unregister-WandbLaunchAgent -Name nightly -Confirm:$false -ErrorAction SilentlyContinue</code><para>For scripts.</para></example>
/// <example><para>All services whose agents are gone</para><code>Get-WandbLaunchAgent -State lost | ForEach-Object { Unregister-WandbLaunchAgent -Name $_.Name -WhatIf -ErrorAction SilentlyContinue }</code><para>Leave out -WhatIf to remove them.</para></example>
[Cmdlet(
    VerbsLifecycle.Unregister,
    "WandbLaunchAgent",
    SupportsShouldProcess = true,
    ConfirmImpact = ConfirmImpact.High
)]
[OutputType("WandbLaunch.Agents.AgentServiceDefinition")]
public sealed class UnregisterWandbLaunchAgentCommand : PipelineCommand
{
    /// <summary>Names of agents.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(AgentCompleter))]
    [ValidatePattern("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
    public string[] Name { get; set; } = [];

    /// <summary>A service of the whole machine.</summary>
    [Parameter]
    public SwitchParameter System { get; set; }

    /// <summary>Write the services that were removed.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds =>
        [nameof(WandbLaunch.Wandb.WandbLaunchAgent), nameof(WandbLaunch.Agents.AgentServiceDefinition)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        foreach (var name in Name)
        {
            try
            {
                var service = AgentServices.Here(Context, System);
                if (!service.Exists(name))
                {
                    throw new LaunchException(
                        "ServiceNotFound",
                        LaunchErrorCategory.ObjectNotFound,
                        $"There is no agent service {service.DefinitionPath(name)}.{(System ? "" : " Is it one of the whole machine (-System)?")}",
                        name
                    );
                }

                var definition = service.Define(
                    new AgentServiceRequest(name, new AgentConfig(), ["-"], null, new Dictionary<string, string>())
                );
                if (!await ShouldProcessAsync(definition.Path, "Unregister agent"))
                {
                    continue;
                }

                if (await service.UninstallAsync(definition, Token) is { } fault)
                {
                    Warn($"{definition.Path} is removed; the service manager said: {fault}");
                }

                if (PassThru)
                {
                    Output(definition);
                }
            }
            catch (Exception e) when (e is LaunchException or IOException or UnauthorizedAccessException)
            {
                Error(e, name);
            }
        }
    }
}
