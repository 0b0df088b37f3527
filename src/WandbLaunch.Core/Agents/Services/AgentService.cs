using System.Runtime.Versioning;
using System.Security.AccessControl;
using System.Security.Principal;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>What service managers have in common: settings in a file that the account alone reads, and a definition, in a file too unless the manager keeps it.</summary>
internal abstract class AgentService(ServicePlace place) : IAgentService
{
    private protected ServicePlace Place => place;

    private protected abstract AgentServiceKind Kind { get; }

    public virtual string ConfigPath(string name) =>
        place.MachineWide ? $"/etc/wandblaunch/{name}.yaml" : Path.Combine(AgentFolder(name), "launch-config.yaml");

    public abstract string DefinitionPath(string name);

    public virtual bool Exists(string name) => File.Exists(DefinitionPath(name));

    private protected string AgentFolder(string name) => Path.Combine(place.DataFolder, "agents", name);

    /// <summary>The definition in the manager's own form.</summary>
    private protected abstract string Content(AgentServiceRequest request, string about);

    /// <summary>Commands that make the manager take it.</summary>
    private protected virtual IReadOnlyList<string[]> Activation(string name) => [];

    /// <summary>Commands that make the manager let go.</summary>
    private protected virtual IReadOnlyList<string[]> Deactivation(string name) => [];

    public virtual AgentServiceDefinition Define(AgentServiceRequest request)
    {
        var name = request.Name;
        var source = (JsonObject)request.Config.Source.DeepClone();
        source["name"] = name;
        var (on, off) = (Activation(name), Deactivation(name));
        return new AgentServiceDefinition
        {
            Name = name,
            Kind = Kind,
            Path = DefinitionPath(name),
            Content = Content(request, $"W&B Launch agent {name} ({string.Join(", ", request.Config.Queues)})"),
            ConfigPath = ConfigPath(name),
            ConfigText = source.ToJsonString(LaunchStore.Json),
            ConfigContent = Masked(source).ToJsonString(LaunchStore.Json),
            Account = request.Account,
            MachineWide = place.MachineWide,
            ActivationWords = on,
            DeactivationWords = off,
            Activation = [.. on.Select(CommandLine.Show)],
            Deactivation = [.. off.Select(CommandLine.Show)],
        };
    }

    public async Task<string?> InstallAsync(
        AgentServiceDefinition definition,
        string? password,
        CancellationToken token
    )
    {
        FileModes.WritePrivate(definition.ConfigPath, definition.ConfigText);
        if (definition.Account is { } account)
        {
            await LetReadAsync(definition.ConfigPath, account, token);
        }

        return await RegisterAsync(definition, password, token);
    }

    public async Task<string?> UninstallAsync(AgentServiceDefinition definition, CancellationToken token)
    {
        var folder = AgentFolder(definition.Name);
        if (AgentStore.Load(folder) is { State: not (AgentState.Stopped or AgentState.Lost) })
        {
            AgentStore.AskStop(folder, true);
        }

        var fault = await UnregisterAsync(definition, token);
        File.Delete(definition.ConfigPath);
        return fault;
    }

    private protected virtual async Task<string?> RegisterAsync(
        AgentServiceDefinition definition,
        string? password,
        CancellationToken token
    )
    {
        FileModes.CreatePrivateFolder(Path.GetDirectoryName(definition.Path)!);
        await File.WriteAllTextAsync(definition.Path, definition.Content, token);
        return await CallAsync(definition.ActivationWords, token);
    }

    private protected virtual async Task<string?> UnregisterAsync(
        AgentServiceDefinition definition,
        CancellationToken token
    )
    {
        var fault = await CallAsync(definition.DeactivationWords, token);
        File.Delete(definition.Path);
        return fault;
    }

    private static JsonObject Masked(JsonObject source)
    {
        var map = (JsonObject)source.DeepClone();
        if (map.ContainsKey("webhook"))
        {
            map["webhook"] = Secrets.Masked;
        }

        foreach (
            var name in (map["environment_variables"] as JsonObject)
                ?.Select(v => v.Key)
                .Where(Secrets.IsSecretName)
                .ToList()
                ?? []
        )
        {
            map["environment_variables"]![name] = Secrets.Masked;
        }

        return (JsonObject)JsonNode.Parse(Secrets.Mask(map.ToJsonString()))!;
    }

    private static async Task<string?> CallAsync(IEnumerable<string[]> commands, CancellationToken token)
    {
        foreach (var words in commands)
        {
            try
            {
                var program = new ExternalProgram(words);
                var result = await program.RunAsync(token);
                if (!result.Succeeded)
                {
                    return $"{CommandLine.Show(words)}: {program.Tail(result.Error, 5)}";
                }
            }
            catch (LaunchException e)
            {
                return e.Message;
            }
        }

        return null;
    }

    private static async Task LetReadAsync(string path, string account, CancellationToken token)
    {
        if (OperatingSystem.IsWindows())
        {
            LetReadOnWindows(path, account);
        }
        else if (
            await CallAsync(
                [
                    ["chown", account, path],
                ],
                token
            ) is
            { } fault
        )
        {
            throw new LaunchException(
                "AccountInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"The agent's settings cannot be given to the account '{account}': {fault}",
                account
            );
        }
    }

    [SupportedOSPlatform("windows")]
    private static void LetReadOnWindows(string path, string account)
    {
        var file = new FileInfo(path);
        var security = file.GetAccessControl();
        security.AddAccessRule(
            new FileSystemAccessRule(new NTAccount(account), FileSystemRights.Read, AccessControlType.Allow)
        );
        file.SetAccessControl(security);
    }
}
