using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Asks the cluster beforehand for every right that a launch needs.</summary>
internal static class KubeAccess
{
    private static readonly (string Resource, string? Sub, string[] Verbs)[] Always =
    [
        ("pods", null, ["get", "list", "watch"]),
        ("pods", "log", ["get"]),
        ("secrets", null, ["create", "get", "patch", "delete"]),
    ];

    private static readonly string[] OfKind = ["create", "get", "list", "watch", "delete"];

    /// <exception cref="LaunchException"><c>KubernetesForbidden</c>: names all that is missing.</exception>
    internal static async Task CheckAsync(KubeApi api, KubeHandle handle, CancellationToken token)
    {
        var asked = Always
            .SelectMany(a => a.Verbs.Select(v => (Verb: v, Group: "", a.Resource, a.Sub)))
            .Concat(OfKind.Select(v => (Verb: v, handle.Kind.Group, Resource: handle.Kind.Plural, Sub: (string?)null)))
            .ToList();
        var answers = await Task.WhenAll(asked.Select(a => AskAsync(a.Verb, a.Group, a.Resource, a.Sub)));
        var missing = asked
            .Where((_, i) => !answers[i])
            .GroupBy(a => a.Resource + (a.Sub is null ? "" : "/" + a.Sub) + (a.Group.Length > 0 ? "." + a.Group : ""))
            .Select(g => $"{g.Key}: {string.Join(", ", g.Select(a => a.Verb))}")
            .ToList();
        if (missing.Count > 0)
        {
            throw new LaunchException(
                "KubernetesForbidden",
                LaunchErrorCategory.PermissionDenied,
                $"The login at {api.Server} lacks rights in the namespace {handle.Namespace}: {string.Join("; ", missing)}. about_WandbLaunch_Kubernetes has a Role with all of them.",
                handle.Namespace
            );
        }

        async Task<bool> AskAsync(string verb, string group, string resource, string? sub)
        {
            var attributes = new JsonObject
            {
                ["namespace"] = handle.Namespace,
                ["verb"] = verb,
                ["group"] = group,
                ["resource"] = resource,
            };
            if (sub is not null)
            {
                attributes["subresource"] = sub;
            }

            var answer = await api.CreateAsync(
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                new JsonObject
                {
                    ["apiVersion"] = "authorization.k8s.io/v1",
                    ["kind"] = "SelfSubjectAccessReview",
                    ["spec"] = new JsonObject { ["resourceAttributes"] = attributes },
                },
                token
            );
            return answer.Is("status", "allowed");
        }
    }
}
