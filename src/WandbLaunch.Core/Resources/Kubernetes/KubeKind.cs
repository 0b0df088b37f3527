using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>A kind of object, as kubectl writes it: jobs.v1.batch.</summary>
internal sealed record KubeKind(string Group, string Version, string Plural)
{
    internal static readonly KubeKind Job = new("batch", "v1", "jobs");
    internal static readonly KubeKind Pod = new("", "v1", "pods");
    internal static readonly KubeKind Secret = new("", "v1", "secrets");
    internal static readonly KubeKind Event = new("", "v1", "events");

    private string Root => Group.Length == 0 ? $"/api/{Version}" : $"/apis/{Group}/{Version}";

    /// <summary>Address of all of them in a namespace, or of one.</summary>
    internal string Path(string @namespace, string? name = null) =>
        $"{Root}/namespaces/{Uri.EscapeDataString(@namespace)}/{Plural}{(name is null ? "" : "/" + Uri.EscapeDataString(name))}";

    internal string ApiVersion => Group.Length == 0 ? Version : Group + "/" + Version;

    public override string ToString() => Group.Length == 0 ? $"{Plural}.{Version}" : $"{Plural}.{Version}.{Group}";

    internal static KubeKind Parse(string text)
    {
        var parts = text.Split('.', 3);
        return new KubeKind(parts.Length > 2 ? parts[2] : "", parts.Length > 1 ? parts[1] : "v1", parts[0]);
    }

    /// <summary>Group and version of a manifest.</summary>
    internal static (string Group, string Version) Split(string apiVersion) =>
        apiVersion.Split('/', 2) is [var group, var version] ? (group, version) : ("", apiVersion);

    /// <summary>Kind and group as a policy writes them: Job.batch, PyTorchJob.kubeflow.org, Service.</summary>
    internal static string Shown(JsonObject manifest)
    {
        var (group, _) = Split(manifest.Str("apiVersion") ?? Job.ApiVersion);
        var kind = manifest.Str("kind") ?? "Job";
        return group.Length == 0 ? kind : kind + "." + group;
    }
}
